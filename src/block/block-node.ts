// A node of the graph (QEMU's BlockDriverState and block/io.c): the one caller of a driver. Range
// checks, alignment, splitting, emulation, serialising, flush generations, drain and accounts are
// decided here, once. A request that the driver answers with a number, on a node where nothing
// serialises, takes the straight way: no promise, no closure, no allocation.

import type { IOVector } from '../base/io-vector.ts';
import { ECANCELED, EINVAL, EIO, EROFS, OK } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import { REQ_COPY_ON_READ, REQ_FUA, REQ_MAY_UNMAP, REQ_NO_FALLBACK } from './block-driver.ts';
import type { BlockStatus } from './block-driver.ts';
import { NodeControl } from './node-control.ts';
import {
  discardShaped,
  readShaped,
  roundDown,
  roundUp,
  writeShaped,
  zeroesShaped,
} from './shaping.ts';
import type { TrackedRequest } from './tracked-requests.ts';

export type { BlockNodeParts } from './node-control.ts';

export class BlockNode extends NodeControl {
  /** Fills `qiov` from `[offset, offset + qiov.size)`. REQ_COPY_ON_READ is the one flag. Answers 0 or -errno. */
  preadv(offset: number, qiov: IOVector, flags = 0): MaybeRet {
    const bytes = qiov.size;
    if (!this.#inRange(offset, bytes)) return this.refuse(-EINVAL);
    if (qiov.region.revoked) return this.refuse(-ECANCELED);
    if (
      ((offset | bytes) & this.alignMask) !== 0 ||
      bytes > this.maxTransfer ||
      bytes === 0 ||
      flags !== 0 ||
      this.books.tracked.serialising !== 0 ||
      this.books.latency !== undefined
    ) {
      return this.#readSlowly(offset, qiov, flags);
    }
    const ret = this.state.preadv(offset, qiov, 0);
    if (typeof ret !== 'number') {
      return this.books.later(
        'rd',
        bytes,
        this.books.tracked.begin(offset, bytes, false),
        ret,
        false,
      );
    }
    const { stats } = this;
    stats.answeredSync += 1;
    stats.rdOperations += 1;
    if (ret < 0) stats.failedRdOperations += 1;
    else stats.rdBytes += bytes;
    return ret;
  }

  /** Writes `qiov`. REQ_FUA is the one flag; a driver without it is flushed afterwards. */
  pwritev(offset: number, qiov: IOVector, flags = 0): MaybeRet {
    const bytes = qiov.size;
    if (this.readOnly) return this.refuse(-EROFS);
    if (!this.#inRange(offset, bytes)) return this.refuse(-EINVAL);
    if (qiov.region.revoked) return this.refuse(-ECANCELED);
    const native = flags & this.writeFlags;
    const fua = (flags & ~native & REQ_FUA) !== 0;
    if (
      ((offset | bytes) & this.alignMask) !== 0 ||
      bytes > this.maxTransfer ||
      bytes === 0 ||
      this.detectZeroes >= 0 ||
      this.books.tracked.serialising !== 0 ||
      this.books.latency !== undefined
    ) {
      return this.#writeSlowly(offset, qiov, flags);
    }
    const ret = this.state.pwritev!(offset, qiov, native);
    if (typeof ret !== 'number') {
      return this.books.later(
        'wr',
        bytes,
        this.books.tracked.begin(offset, bytes, false),
        ret,
        fua,
      );
    }
    this.books.writeGen += 1;
    const { stats } = this;
    stats.answeredSync += 1;
    stats.wrOperations += 1;
    if (ret < 0) {
      stats.failedWrOperations += 1;
      return ret;
    }
    stats.wrBytes += bytes;
    return fua ? this.flush() : ret;
  }

  /** Makes a range read as zeroes. Flags: REQ_MAY_UNMAP, REQ_FUA, REQ_NO_FALLBACK. */
  pwriteZeroes(offset: number, bytes: number, flags = 0): MaybeRet {
    if (this.readOnly) return this.refuse(-EROFS);
    if (!this.#inRange(offset, bytes)) return this.refuse(-EINVAL);
    const { supportedZeroFlags } = this.state.limits;
    // FUA is native only where it is so whichever way the zeroes take.
    const fuaFlag = flags & REQ_FUA & supportedZeroFlags & this.writeFlags;
    const unmap = this.discardEnabled ? flags & REQ_MAY_UNMAP : 0;
    const request = {
      zeroFlags: ((unmap | (flags & REQ_NO_FALLBACK)) & supportedZeroFlags) | fuaFlag,
      writeFlags: fuaFlag,
      flags,
      turn: () => new Promise<Ret>((resolve) => this.context.scheduleOneshot(() => resolve(OK))),
    };
    return this.books.run(
      'zero',
      bytes,
      this.#track(offset, bytes),
      (flags & REQ_FUA & ~fuaFlag) !== 0,
      () => (bytes === 0 ? OK : zeroesShaped(this.state, offset, bytes, request)),
    );
  }

  /** Says that the contents do not matter any more. Advisory: 0 does not mean that it was done. */
  pdiscard(offset: number, bytes: number): MaybeRet {
    if (this.readOnly) return this.refuse(-EROFS);
    if (!this.#inRange(offset, bytes)) return this.refuse(-EINVAL);
    if (!this.discardEnabled || bytes === 0) return OK;
    return this.books.run(
      'unmap',
      bytes,
      this.books.tracked.begin(offset, bytes, false),
      false,
      () => discardShaped(this.state, offset, bytes),
    );
  }

  /** The state at `offset`: the driver's answer, or "data" where it has none. */
  blockStatus(offset: number, bytes: number): BlockStatus | Ret | Promise<BlockStatus | Ret> {
    if (!this.#inRange(offset, bytes)) return this.refuse(-EINVAL);
    if (this.state.blockStatus === undefined || bytes === 0) {
      return { bytes, allocated: true, zero: false };
    }
    const align = this.alignMask + 1;
    const start = roundDown(offset, align);
    const end = roundUp(offset + bytes, align);
    let status: BlockStatus | undefined;
    const keep = (answer: BlockStatus | Ret): Ret => {
      if (typeof answer === 'number') return Math.min(answer, -1);
      if (!(answer.bytes > 0)) return -EIO;
      // Runs in bytes from a driver of blocks may end before `offset`: its block is not all zero.
      const { fileOffset, allocated } = answer;
      const ahead = answer.bytes - (offset - start);
      const run = Math.min(ahead > 0 ? ahead : start + align - offset, bytes);
      status = { bytes: run, allocated, zero: answer.zero && ahead > 0 };
      if (fileOffset !== undefined) status = { ...status, fileOffset: fileOffset + offset - start };
      return OK;
    };
    const ret = this.books.run('status', 0, this.books.tracked.begin(0, 0, false), false, () => {
      const answer = this.state.blockStatus!(start, end - start);
      return answer instanceof Promise ? answer.then(keep) : keep(answer);
    });
    const pick = (done: Ret): BlockStatus | Ret => (done < 0 ? done : status!);
    return typeof ret === 'number' ? pick(ret) : ret.then(pick);
  }

  #inRange(offset: number, bytes: number): boolean {
    if (!(offset >= 0 && bytes >= 0 && offset + bytes <= this.lengthNow)) return false;
    return Number.isSafeInteger(offset);
  }

  #readSlowly(offset: number, qiov: IOVector, flags: number): MaybeRet {
    const bytes = qiov.size;
    if (bytes === 0) return OK;
    if ((flags & REQ_COPY_ON_READ) !== 0) return this.#copyOnRead(offset, qiov);
    return this.books.run('rd', bytes, this.books.tracked.begin(offset, bytes, false), false, () =>
      readShaped(this.state, offset, qiov),
    );
  }

  /** Reads alone on the clusters that it touches, and stores what comes from below. */
  #copyOnRead(offset: number, qiov: IOVector): MaybeRet {
    const bytes = qiov.size;
    const grain = Math.max(this.alignMask + 1, this.limits.optTransfer);
    const start = roundDown(offset, grain);
    const end = Math.min(roundUp(offset + bytes, grain), this.lengthNow);
    const request = this.books.tracked.begin(start, end - start, true);
    return this.books.run('rd', bytes, request, false, async () => {
      const { copyUp } = await import('./copy-up.ts');
      return copyUp(this.state, start, end, offset, qiov);
    });
  }

  #writeSlowly(offset: number, qiov: IOVector, flags: number): MaybeRet {
    const bytes = qiov.size;
    if (this.detectZeroes >= 0 && bytes > 0 && qiov.isZero()) {
      return this.pwriteZeroes(offset, bytes, (flags & REQ_FUA) | this.detectZeroes);
    }
    const native = flags & this.writeFlags;
    const fua = (flags & ~native & REQ_FUA) !== 0;
    if (bytes === 0) return fua ? this.flush() : OK;
    return this.books.run('wr', bytes, this.#track(offset, bytes), fua, () =>
      writeShaped(this.state, offset, qiov, native),
    );
  }

  /** Enters a write; a serialising one, over whole blocks, where it covers blocks in part. */
  #track(offset: number, bytes: number): TrackedRequest {
    const align = this.alignMask + 1;
    const start = roundDown(offset, align);
    const end = roundUp(offset + bytes, align);
    return this.books.tracked.begin(start, end - start, end - start !== bytes);
  }
}
