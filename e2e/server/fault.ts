// How a server can go wrong, as data. A fault belongs to a path and strikes the requests it is told
// to; everything else on that path is served as it should be.

/** One way of failing; see `FaultKind` for what each does. */
export interface Fault {
  readonly kind: FaultKind;
  /** Requests to let pass before the first that is struck; 0 unless told. */
  readonly after?: number;
  /** Requests to strike, then none; all unless told. */
  readonly times?: number;
  /** `status`: the status code; 500 unless told. */
  readonly status?: number;
  /** `status`: seconds for a Retry-After header; none unless told. */
  readonly retryAfter?: number;
  /** `stall`, `truncate`, `reset`, `short-range`: body bytes sent before it; 0 unless told. */
  readonly bytes?: number;
}

/**
 * - `status`: an error status instead of the data.
 * - `stall`: headers and `bytes` of the body, then silence until the client gives up.
 * - `truncate`: the body ends after `bytes`, and the headers said nothing else (no Content-Length).
 * - `reset`: the connection breaks after `bytes` of the body.
 * - `hang`: no answer at all, until the client gives up.
 * - `refuse`: the connection breaks before any answer.
 * - `change-etag`: another entity tag than before: the image was replaced.
 * - `weak-etag`, `no-etag`: nothing that could pin the image.
 * - `ignore-range`: 200 and the whole representation.
 * - `gzip`: the bytes asked for, gzip-encoded on the way as a proxy does it (Content-Encoding: gzip).
 * - `wrong-content-range`: the right bytes, named as the block before or after them.
 * - `no-total`: the total size is `*` in Content-Range.
 * - `short-range`: a 206 of only the first `bytes` asked for, honestly labelled.
 * - `corrupt`: every byte inverted, under flawless headers.
 * - `no-cors`: no CORS headers at all.
 * - `no-expose`: CORS headers that hide Content-Range and ETag.
 */
export type FaultKind =
  | 'status'
  | 'stall'
  | 'truncate'
  | 'reset'
  | 'hang'
  | 'refuse'
  | 'change-etag'
  | 'weak-etag'
  | 'no-etag'
  | 'ignore-range'
  | 'gzip'
  | 'wrong-content-range'
  | 'no-total'
  | 'short-range'
  | 'corrupt'
  | 'no-cors'
  | 'no-expose';

/** A fault with its counts: what `setFault` keeps for a path. */
export interface ArmedFault {
  readonly fault: Fault;
  passed: number;
  struck: number;
}

/** The fault that strikes the request at hand, if any; counts it. */
export function nextFault(armed: ArmedFault | undefined): Fault | undefined {
  if (!armed) return undefined;
  const { fault } = armed;
  if (armed.passed < (fault.after ?? 0)) {
    armed.passed++;
    return undefined;
  }
  if (armed.struck >= (fault.times ?? Infinity)) return undefined;
  armed.struck++;
  return fault;
}
