// Gives a request the shape that a driver takes: blocks that are only partly covered are read (and,
// for a write, changed and written back) through a small buffer, what lies between them goes to the
// driver as it is, in pieces of at most `maxTransfer`. The caller keeps overlapping requests away.

import { IOVector } from '../base/io-vector.ts';
import { ECANCELED, ENOTSUP, OK, andThen, sequence } from '../base/ret.ts';
import type { MaybeRet } from '../base/ret.ts';
import { REQ_NO_FALLBACK } from './block-driver.ts';
import type { BlockLimits, DriverState } from './block-driver.ts';

/** Zeroes are written out through one shared buffer of this size, bytes. */
export const ZERO_BUFFER_BYTES: number = 256 * 1024;
/** Zeroes written out between two turns of the loop, bytes: so long may others wait. */
const ZERO_BURST_BYTES = 16 * 1024 * 1024;

/** Reads any range. */
export function readShaped(state: DriverState, offset: number, qiov: IOVector): MaybeRet {
  return inParts(offset, qiov.size, state.limits.requestAlignment, (at, bytes, partial) => {
    if (!partial) {
      return inPieces(at, bytes, largestPiece(state.limits, 1), (start, length) =>
        state.preadv(start, qiov.slice(start - offset, length), 0),
      );
    }
    const block = IOVector.of(new Uint8Array(state.limits.requestAlignment));
    const start = roundDown(at, block.size);
    return andThen(state.preadv(start, block, 0), () => {
      qiov.copyFrom(block.region.bytes, at - start, at - offset, bytes);
      return OK;
    });
  });
}

/** Writes any range. `flags` go to the driver with every piece. Needs `state.pwritev`. */
export function writeShaped(
  state: DriverState,
  offset: number,
  qiov: IOVector,
  flags: number,
): MaybeRet {
  return inParts(offset, qiov.size, state.limits.requestAlignment, (at, bytes, partial) => {
    if (qiov.region.revoked) return -ECANCELED;
    if (!partial) {
      return inPieces(at, bytes, largestPiece(state.limits, 1), (start, length) =>
        state.pwritev!(start, qiov.slice(start - offset, length), flags),
      );
    }
    const block = IOVector.of(new Uint8Array(state.limits.requestAlignment));
    const start = roundDown(at, block.size);
    return andThen(state.preadv(start, block, 0), () => {
      if (qiov.region.revoked) return -ECANCELED;
      qiov.copyTo(block.region.bytes, at - start, at - offset, bytes);
      return state.pwritev!(start, block, flags);
    });
  });
}

/** What `zeroesShaped` needs besides the range. */
export interface ZeroRequest {
  /** Flags for the driver's `pwriteZeroes`, all of them declared by it. */
  readonly zeroFlags: number;
  /** Flags for `pwritev`, where zeroes are written out. */
  readonly writeFlags: number;
  /** The caller's flags; REQ_NO_FALLBACK counts. */
  readonly flags: number;
  /** Lets the loop turn once. */
  readonly turn: () => Promise<number>;
}

/** Writes zeroes to any range: by the driver where it can, else from a buffer of zeroes. */
export function zeroesShaped(
  state: DriverState,
  offset: number,
  bytes: number,
  request: ZeroRequest,
): MaybeRet {
  const { limits } = state;
  const writeOut = (at: number, length: number): MaybeRet => {
    if ((request.flags & REQ_NO_FALLBACK) !== 0) return -ENOTSUP;
    return zeroesWrittenOut(state, at, length, request);
  };
  const granule = Math.max(limits.pwriteZeroesAlignment, limits.requestAlignment);
  return inParts(offset, bytes, granule, (at, length, partial) => {
    if (partial || state.pwriteZeroes === undefined) return writeOut(at, length);
    return inPieces(at, length, largestPiece(limits, granule), (start, piece) =>
      orElse(state.pwriteZeroes!(start, piece, request.zeroFlags), () => writeOut(start, piece)),
    );
  });
}

/** Discards what lies wholly inside the range; never fails for want of support. */
export function discardShaped(state: DriverState, offset: number, bytes: number): MaybeRet {
  const { limits } = state;
  if (state.pdiscard === undefined) return OK;
  const granule = Math.max(limits.pdiscardAlignment, limits.requestAlignment);
  const start = roundUp(offset, granule);
  const end = roundDown(offset + bytes, granule);
  if (start >= end) return OK;
  return inPieces(start, end - start, largestPiece(limits, granule), (at, length) =>
    orElse(state.pdiscard!(at, length), () => OK),
  );
}

/** The largest multiple of `step` at or below `n`. Exact up to 2^53. */
export function roundDown(n: number, step: number): number {
  return n - (n % step);
}

/** The smallest multiple of `step` at or above `n`. */
export function roundUp(n: number, step: number): number {
  const rest = n % step;
  return rest === 0 ? n : n - rest + step;
}

let zeroes: IOVector | undefined;

function zeroesWrittenOut(
  state: DriverState,
  offset: number,
  bytes: number,
  request: ZeroRequest,
): MaybeRet {
  const buffer = (zeroes ??= IOVector.of(new Uint8Array(ZERO_BUFFER_BYTES)));
  let burst = 0;
  return inPieces(offset, bytes, buffer.size, (start, length) => {
    const ret = writeShaped(state, start, buffer.slice(0, length), request.writeFlags);
    burst += length;
    if (burst < ZERO_BURST_BYTES) return ret;
    burst = 0;
    return andThen(ret, request.turn);
  });
}

/** `fallback` where `ret` is, or will be, -ENOTSUP. */
function orElse(ret: MaybeRet, fallback: () => MaybeRet): MaybeRet {
  if (typeof ret === 'number') return ret === -ENOTSUP ? fallback() : ret;
  return ret.then((later) => (later === -ENOTSUP ? fallback() : later));
}

/** The most that one call may carry, a multiple of `granule` and of the alignment. */
function largestPiece(limits: BlockLimits, granule: number): number {
  const step = Math.max(granule, limits.requestAlignment);
  return Math.max(roundDown(limits.maxTransfer, step), step);
}

/** Cuts a range into pieces of at most `most` bytes. */
function inPieces(
  offset: number,
  bytes: number,
  most: number,
  step: (offset: number, bytes: number) => MaybeRet,
): MaybeRet {
  if (bytes <= most) return step(offset, bytes);
  return sequence(Math.ceil(bytes / most), (i) =>
    step(offset + i * most, Math.min(most, bytes - i * most)),
  );
}

/** Cuts a range where blocks of `align` bytes are covered in part: head, middle, tail. */
function inParts(
  offset: number,
  bytes: number,
  align: number,
  step: (offset: number, bytes: number, partial: boolean) => MaybeRet,
): MaybeRet {
  const end = offset + bytes;
  const headEnd = offset % align === 0 ? offset : Math.min(roundUp(offset, align), end);
  const tailStart = Math.max(headEnd, roundDown(end, align));
  return sequence(3, (i) => {
    const start = i === 0 ? offset : i === 1 ? headEnd : tailStart;
    const stop = i === 0 ? headEnd : i === 1 ? tailStart : end;
    return start === stop ? OK : step(start, stop - start, i !== 1);
  });
}
