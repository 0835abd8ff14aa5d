// One range request, from the question to the last byte of the body, under one time limit. Bytes go
// to a sink as they come; a request that fails leaves `position` where the next may go on.

import type { AioContext } from '../../aio/aio-context.ts';
import { checkAnswer } from './http-answer.ts';
import type { HttpIdentity } from './http-answer.ts';
import { HttpFault } from './http-fault.ts';

/** Ranges start at multiples of this: Chromium's caches keep partial bodies by such blocks. */
export const HTTP_BLOCK = 4096;

/** The server's side of a driver: what all its requests share. */
export interface HttpSource {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly credentials: RequestCredentials;
  readonly fetch: typeof fetch;
  readonly aioContext: AioContext;
  /** For one request, body and all; nanoseconds. */
  readonly timeoutNs: number;
  /** Set by the first answer. */
  identity: HttpIdentity | undefined;
  /** Requests sent, body bytes taken, requests sent again. */
  requests: number;
  bytes: number;
  retries: number;
}

/** A range being read, perhaps by several requests in turn. */
export interface RangeRead {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** The next byte to ask for. */
  position: number;
  /** Takes bytes of the image at `offset`; not verified until the whole range is read. */
  readonly sink: (offset: number, bytes: Uint8Array) => void;
}

/**
 * Asks once for what is left of `read`, and advances `position` by what came: all of it, or, when
 * the server labels its answer so, a part. Throws HttpFault; `position` is then where to go on.
 */
export async function fetchRange(
  source: HttpSource,
  read: RangeRead,
  limitNs: number,
  signal: AbortSignal,
): Promise<void> {
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  const timer = source.aioContext.newTimer(stop);
  signal.addEventListener('abort', stop, { once: true });
  timer.mod(source.aioContext.now() + limitNs);
  try {
    if (signal.aborted) abort.abort();
    await exchange(source, read, abort.signal);
  } catch (cause) {
    if (cause instanceof HttpFault) throw cause;
    if (signal.aborted) throw new HttpFault('canceled', 'canceled', { code: 'ECANCELED', cause });
    if (abort.signal.aborted) {
      const seconds = Math.round(limitNs / 1e6) / 1e3;
      const message = `no complete answer within ${seconds} s`;
      throw new HttpFault('retry', message, { code: 'ETIMEDOUT', cause });
    }
    throw networkFault(source, cause);
  } finally {
    timer.del();
    signal.removeEventListener('abort', stop);
    // Ends what is still coming of a body nobody wants; no effect on one that was read to its end.
    abort.abort();
  }
}

async function exchange(source: HttpSource, read: RangeRead, signal: AbortSignal): Promise<void> {
  const first = read.position;
  source.requests += 1;
  const response = await source.fetch(source.url, {
    headers: { ...source.headers, Range: `bytes=${first}-${read.end - 1}` },
    credentials: source.credentials,
    cache: 'no-store',
    signal,
  });
  const { last, identity } = checkAnswer(response, first, read.end - 1, source.identity);
  if (response.body === null) throw new HttpFault('retry', 'the answer has no body');
  const reader = response.body.getReader();
  const end = last + 1;
  try {
    await takeBody(source, read, reader, end);
  } catch (error) {
    // All bytes, but not the end of the body, so perhaps more than was announced: trust none.
    read.position = read.position >= end ? first : resumeAt(read);
    throw error;
  }
  source.identity ??= identity;
}

async function takeBody(
  source: HttpSource,
  read: RangeRead,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  end: number,
): Promise<void> {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    source.bytes += value.length;
    if (read.position + value.length > end) {
      read.position = read.start;
      throw new HttpFault(
        'fatal',
        `the body is longer than its Content-Range, which ends at ${end}`,
      );
    }
    read.sink(read.position, value);
    read.position += value.length;
  }
  if (read.position < end) {
    const missing = end - read.position;
    throw new HttpFault('retry', `the body ends ${missing} bytes before its Content-Range does`);
  }
}

/** Where to go on after a body cut short: at a block's start, never before the range's. */
function resumeAt(read: RangeRead): number {
  return Math.max(read.start, read.position - (read.position % HTTP_BLOCK));
}

function networkFault(source: HttpSource, cause: unknown): HttpFault {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const cors =
    source.identity === undefined
      ? '; from another origin the server must send "Access-Control-Allow-Origin" and ' +
        '"Access-Control-Expose-Headers: Content-Range, ETag", and allow the header Range; a server ' +
        'that compresses ranges can fail this way, too'
      : '';
  return new HttpFault('retry', `the request failed (${reason})${cors}`, { cause });
}
