// Checks the head of an answer to a range request (RFC 9110, 14.4 and 15.3.7) before a byte of its
// body is taken: status, coding, range, total size, and that it is still the image that was opened.

import { HttpFault } from './http-fault.ts';

/** What an image is known by, taken from the first answer and compared with each later one. */
export interface HttpIdentity {
  /** Bytes. */
  readonly total: number;
  /** A strong entity tag, quotes and all. */
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/** The part of `Response` that is looked at. */
export type AnswerHead = Pick<Response, 'status' | 'headers' | 'type'>;

/** What an accepted answer carries. */
export interface AcceptedRange {
  /** Last byte of the body, inclusive; perhaps before the last one asked for. */
  readonly last: number;
  readonly identity: HttpIdentity;
}

const CONTENT_RANGE = /^bytes +(\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/i;

/**
 * Accepts `head` as the answer to `bytes=first-last`, or throws HttpFault. `pinned` is absent for
 * the first request of all.
 */
export function checkAnswer(
  head: AnswerHead,
  first: number,
  last: number,
  pinned: HttpIdentity | undefined,
): AcceptedRange {
  if (head.status !== 206) throw statusFault(head, pinned);
  const coding = head.headers.get('content-encoding');
  if (coding !== null && coding.toLowerCase() !== 'identity') {
    throw new HttpFault(
      'fatal',
      `the server sends ranges of a ${coding}-encoded form of the image (Content-Encoding); ` +
        'switch compression off for disk images there',
      { code: 'ENOTSUP' },
    );
  }
  const range = checkContentRange(head, first, last);
  const identity: HttpIdentity = {
    total: range.total,
    etag: strongTag(head.headers.get('etag')),
    lastModified: head.headers.get('last-modified') ?? undefined,
  };
  if (pinned !== undefined) checkSame(identity, pinned);
  return { last: range.last, identity };
}

function checkContentRange(
  head: AnswerHead,
  first: number,
  last: number,
): { last: number; total: number } {
  const text = head.headers.get('content-range');
  if (text === null) {
    const hidden =
      "the server's CORS headers hide Content-Range from this page; it must send " +
      '"Access-Control-Expose-Headers: Content-Range, ETag"';
    const absent = 'the server answers 206 without a Content-Range';
    throw new HttpFault('fatal', head.type === 'cors' ? hidden : absent, { code: 'ENOTSUP' });
  }
  const match = CONTENT_RANGE.exec(text.trim());
  if (match === null) {
    throw new HttpFault('retry', `the server sends a Content-Range that is none: '${brief(text)}'`);
  }
  if (match[3] === '*') {
    throw new HttpFault('fatal', "the server does not tell the image's total size (…/*)", {
      code: 'ENOTSUP',
    });
  }
  const total = Number(match[3]);
  if (!Number.isSafeInteger(total)) {
    throw new HttpFault('fatal', `the image's total size ${match[3]} is beyond 2^53 - 1 bytes`, {
      code: 'EFBIG',
    });
  }
  const from = Number(match[1]);
  const to = Number(match[2]);
  if (from !== first || to < from || to > last || to >= total) {
    throw new HttpFault('retry', `asked for bytes ${first}-${last}, got '${brief(text)}'`);
  }
  const length = head.headers.get('content-length');
  if (length !== null && length !== String(to - from + 1)) {
    throw new HttpFault('retry', `Content-Range '${text}' with a Content-Length of ${length}`);
  }
  return { last: to, total };
}

function checkSame(now: HttpIdentity, pinned: HttpIdentity): void {
  if (now.total !== pinned.total) {
    throw changed(`its size was ${pinned.total} bytes and is ${now.total}`);
  }
  const mark = pinned.etag === undefined ? 'lastModified' : 'etag';
  const name = pinned.etag === undefined ? 'Last-Modified' : 'ETag';
  const before = pinned[mark];
  const after = now[mark];
  if (before === undefined || after === before) return;
  // One server of several that leaves the header out proves nothing, but cannot be trusted either.
  if (after === undefined) throw new HttpFault('retry', `an answer carries no ${name} to check`);
  throw changed(`its ${name} was ${before} and is ${brief(after)}`);
}

function changed(how: string): HttpFault {
  return new HttpFault('changed', `the image changed on the server: ${how}`, { code: 'ESTALE' });
}

function statusFault(head: AnswerHead, pinned: HttpIdentity | undefined): HttpFault {
  const { status } = head;
  if (status === 200) {
    // After a good start it is a proxy or one of several servers that misbehaves: that may pass.
    return new HttpFault(
      pinned === undefined ? 'fatal' : 'retry',
      'the server ignores Range and sends the whole image (status 200); use a host that serves ' +
        'byte ranges, or download the image and open it from there',
      { code: 'ENOTSUP' },
    );
  }
  if (status === 412) return changed('it answers 412 (Precondition Failed)');
  if (status === 416) {
    const total = /^bytes \*\/(\d{1,16})$/i.exec(head.headers.get('content-range') ?? '')?.[1];
    if (pinned !== undefined) return changed(`it ends before the range (${total ?? '?'} bytes)`);
    const what = total === '0' ? 'the image is empty' : 'the server refuses the range 0-0';
    return new HttpFault('fatal', `${what} (status 416)`, { code: 'EINVAL' });
  }
  const message = `the server answers status ${status}`;
  if (status === 401 || status === 403) return new HttpFault('fatal', message, { code: 'EACCES' });
  if (status === 404 || status === 410) return new HttpFault('fatal', message, { code: 'ENOENT' });
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    return new HttpFault('retry', message, { retryAfterNs: retryAfter(head.headers) });
  }
  return new HttpFault('fatal', message);
}

/** RFC 9110, 10.2.3. A date counts from the server's own Date, since clocks differ. */
function retryAfter(headers: Headers): number {
  const text = headers.get('retry-after')?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1e9;
  const wait = Date.parse(text) - Date.parse(headers.get('date') ?? '');
  return wait > 0 ? wait * 1e6 : 0;
}

/** The tag when it is strong: only that promises the same bytes (RFC 9110, 8.8.1). */
function strongTag(text: string | null): string | undefined {
  return text !== null && text.startsWith('"') ? text : undefined;
}

/** Text of a stranger, short enough to print. */
function brief(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
