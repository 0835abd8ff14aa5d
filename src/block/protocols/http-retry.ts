// Reads a range whatever it takes within bounds: the whole operation is tried again, with a pause
// that doubles and a jitter, going on where a body was cut short. Bounded by tries and by time.

import { HttpFault } from './http-fault.ts';
import { HTTP_BLOCK, fetchRange } from './http-range.ts';
import type { HttpSource, RangeRead } from './http-range.ts';

/** Requests that may fail before the operation does. */
export const HTTP_TRIES = 5;
const FIRST_PAUSE_NS = 100_000_000;
const LONGEST_PAUSE_NS = 5_000_000_000;

/**
 * Reads all of `read`; every byte of it is then verified. Throws HttpFault: of kind `canceled` when
 * `signal` aborts, otherwise after at most HTTP_TRIES times the time limit of one request.
 */
export async function readRange(
  source: HttpSource,
  read: RangeRead,
  signal: AbortSignal,
): Promise<void> {
  const { aioContext, timeoutNs } = source;
  const deadline = aioContext.now() + HTTP_TRIES * timeoutNs;
  let failures = 0;
  while (read.position < read.end) {
    const before = read.position;
    try {
      await fetchRange(source, read, Math.min(timeoutNs, deadline - aioContext.now()), signal);
      // A server may answer with less than was asked, but not in crumbs.
      if (read.position < read.end && read.position - before < HTTP_BLOCK) {
        throw new HttpFault('retry', `the server sends ${read.position - before} bytes at a time`);
      }
    } catch (error) {
      const fault = error as HttpFault;
      if (fault.kind !== 'retry') throw fault;
      failures += 1;
      const pause = Math.max(pauseNs(failures, aioContext.random()), fault.retryAfterNs);
      if (failures === HTTP_TRIES || aioContext.now() + pause >= deadline)
        throw givenUp(fault, failures);
      await sleep(source, pause, signal);
      source.retries += 1;
    }
    if (aioContext.now() >= deadline && read.position < read.end) {
      const limit = (HTTP_TRIES * timeoutNs) / 1e9;
      const message = `no complete answer within ${limit} s in all: the server is too slow`;
      throw new HttpFault('fatal', message, { code: 'ETIMEDOUT' });
    }
  }
}

/** After the `n`-th failure: 100 ms, doubled each time up to 5 s, half of it by chance. */
function pauseNs(n: number, random: number): number {
  const most = Math.min(FIRST_PAUSE_NS * 2 ** (n - 1), LONGEST_PAUSE_NS);
  return most * (0.5 + random / 2);
}

function givenUp(fault: HttpFault, failures: number): HttpFault {
  const asked = fault.retryAfterNs > 0 ? `, which asks to wait ${fault.retryAfterNs / 1e9} s` : '';
  const message = `given up after ${failures} ${failures === 1 ? 'try' : 'tries'}: ${fault.message}`;
  return new HttpFault('fatal', message + asked, { code: fault.code, cause: fault });
}

async function sleep(source: HttpSource, ns: number, signal: AbortSignal): Promise<void> {
  try {
    await source.aioContext.sleep(ns, signal);
  } catch (cause) {
    throw new HttpFault('canceled', 'canceled', { code: 'ECANCELED', cause });
  }
}
