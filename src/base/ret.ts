// What data-path calls answer: a number, `>= 0` for success, a negated errno for failure. Now, or
// later as a promise that never rejects. A number costs nothing, so that is the usual answer.

/** `>= 0` on success, `-errno` on failure. */
export type Ret = number;

/** A `Ret` now, or a promise of one that never rejects. */
export type MaybeRet = Ret | Promise<Ret>;

export const OK = 0;

// Linux errno values; only those diskplane answers.
export const EPERM = 1;
export const ENOENT = 2;
export const EIO = 5;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const EFBIG = 27;
export const ENOSPC = 28;
export const EROFS = 30;
export const ERANGE = 34;
export const ENOTSUP = 95;
export const ETIMEDOUT = 110;
export const ESTALE = 116;
export const ENOMEDIUM = 123;
export const ECANCELED = 125;

/** The name of an errno, such as `'ENOSPC'`: what `BlockError.code` carries. */
export type ErrorCode =
  | 'EPERM'
  | 'ENOENT'
  | 'EIO'
  | 'EAGAIN'
  | 'ENOMEM'
  | 'EACCES'
  | 'EBUSY'
  | 'EEXIST'
  | 'ENODEV'
  | 'EINVAL'
  | 'EFBIG'
  | 'ENOSPC'
  | 'EROFS'
  | 'ERANGE'
  | 'ENOTSUP'
  | 'ETIMEDOUT'
  | 'ESTALE'
  | 'ENOMEDIUM'
  | 'ECANCELED';

const NAMES: Readonly<Record<ErrorCode, number>> = {
  EPERM, ENOENT, EIO, EAGAIN, ENOMEM, EACCES, EBUSY, EEXIST, ENODEV, EINVAL, EFBIG, ENOSPC,
  EROFS, ERANGE, ENOTSUP, ETIMEDOUT, ESTALE, ENOMEDIUM, ECANCELED,
}; // prettier-ignore

const BY_NUMBER = new Map<number, ErrorCode>(
  Object.entries(NAMES).map(([name, n]) => [n, name as ErrorCode]),
);

/** The name for a negative `Ret`; `'EIO'` for a number that has none. */
export function errorCode(ret: Ret): ErrorCode {
  return BY_NUMBER.get(-ret) ?? 'EIO';
}

/** The errno, positive, for a name. */
export function errnoOf(code: ErrorCode): number {
  return NAMES[code];
}

/**
 * Calls `next` once `ret` is known and not an error: at once for a number, later for a promise.
 * For cold paths: a hot path tests `typeof ret === 'number'` itself and allocates no closure.
 */
export function andThen(ret: MaybeRet, next: (ret: Ret) => MaybeRet): MaybeRet {
  if (typeof ret === 'number') return ret < 0 ? ret : next(ret);
  return ret.then((later) => (later < 0 ? later : next(later)));
}

/**
 * Runs `step(0)`, `step(1)` … `step(count - 1)` until one fails: at once for as long as they answer
 * at once, later from the first promise on. For cold paths that come in pieces.
 */
export function sequence(count: number, step: (i: number) => MaybeRet): MaybeRet {
  for (let i = 0; i < count; i++) {
    const ret = step(i);
    if (typeof ret !== 'number') return sequenceLater(ret, i + 1, count, step);
    if (ret < 0) return ret;
  }
  return OK;
}

async function sequenceLater(
  first: Promise<Ret>,
  next: number,
  count: number,
  step: (i: number) => MaybeRet,
): Promise<Ret> {
  let ret = await first;
  for (let i = next; i < count && ret >= 0; i++) ret = await step(i);
  return Math.min(ret, OK);
}
