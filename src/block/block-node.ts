// A node of the graph (QEMU's BlockDriverState and block/io.c): the one caller of a driver. Range
// checks, emulation, in-flight accounting and drain are written here, once.

import type { AioContext } from '../aio/aio-context.ts';
import { assert } from '../base/assert.ts';
import { IOVector } from '../base/io-vector.ts';
import { ECANCELED, EINVAL, ENOTSUP, EROFS, OK, andThen } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import type { BlockChild } from './block-child.ts';
import { REQ_FUA, REQ_NO_FALLBACK } from './block-driver.ts';
import type { BlockLimits, BlockStatus, DriverState } from './block-driver.ts';

const ZERO_CHUNK = new Uint8Array(64 * 1024);

/** What a node is made of. */
export interface BlockNodeParts {
  readonly name: string;
  /** `driver=` */
  readonly driver: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  readonly context: AioContext;
  readonly state: DriverState;
  readonly children: readonly BlockChild[];
  readonly readOnly: boolean;
}

export class BlockNode {
  readonly name: string;
  readonly driver: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  readonly children: readonly BlockChild[];
  readonly readOnly: boolean;
  readonly state: DriverState;
  readonly #context: AioContext;
  #inFlight = 0;
  #quiesced = 0;
  #drained: (() => void)[] = [];

  constructor(parts: BlockNodeParts) {
    this.name = parts.name;
    this.driver = parts.driver;
    this.kind = parts.kind;
    this.#context = parts.context;
    this.state = parts.state;
    this.children = parts.children;
    this.readOnly = parts.readOnly;
  }

  get length(): number {
    return this.state.length;
  }
  get limits(): BlockLimits {
    return this.state.limits;
  }

  preadv(offset: number, qiov: IOVector, flags: number): MaybeRet {
    if (!this.#inRange(offset, qiov.size)) return -EINVAL;
    if (qiov.region.revoked) return -ECANCELED;
    return this.#finish(this.state.preadv(offset, qiov, flags));
  }

  pwritev(offset: number, qiov: IOVector, flags: number): MaybeRet {
    if (this.readOnly) return -EROFS;
    if (!this.#inRange(offset, qiov.size)) return -EINVAL;
    if (qiov.region.revoked) return -ECANCELED;
    if (this.state.pwritev === undefined) return -ENOTSUP;
    const native = flags & this.limits.supportedWriteFlags;
    const ret = this.#finish(this.state.pwritev(offset, qiov, native));
    const needsFlush = (flags & REQ_FUA) !== 0 && (native & REQ_FUA) === 0;
    return needsFlush ? andThen(ret, () => this.flush()) : ret;
  }

  pwriteZeroes(offset: number, bytes: number, flags: number): MaybeRet {
    if (this.readOnly) return -EROFS;
    if (!this.#inRange(offset, bytes)) return -EINVAL;
    if (this.state.pwriteZeroes !== undefined) {
      const ret = this.#finish(this.state.pwriteZeroes(offset, bytes, flags));
      if (ret !== -ENOTSUP) return ret;
    }
    return (flags & REQ_NO_FALLBACK) !== 0 ? -ENOTSUP : this.#writeZeroesOut(offset, bytes, flags);
  }

  pdiscard(offset: number, bytes: number): MaybeRet {
    if (this.readOnly) return -EROFS;
    if (!this.#inRange(offset, bytes)) return -EINVAL;
    if (this.state.pdiscard === undefined) return OK;
    return this.#finish(this.state.pdiscard(offset, bytes));
  }

  flush(): MaybeRet {
    const own = this.state.flush === undefined ? OK : this.#finish(this.state.flush());
    return this.children.reduce<MaybeRet>(
      (ret, child) => (child.writable ? andThen(ret, () => child.flush()) : ret),
      own,
    );
  }

  blockStatus(offset: number, bytes: number): BlockStatus | Ret | Promise<BlockStatus | Ret> {
    if (this.state.blockStatus === undefined) return { bytes, allocated: true, zero: false };
    return this.state.blockStatus(offset, bytes);
  }

  async truncate(length: number): Promise<Ret> {
    if (this.readOnly) return -EROFS;
    if (this.state.truncate === undefined) return -ENOTSUP;
    return this.state.truncate(length);
  }

  /** Runs `body` while no request is in flight and none can start. */
  async whileDrained<T>(body: () => Promise<T>): Promise<T> {
    this.#quiesced += 1;
    this.state.drainBegin?.();
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#drained.push(resolve));
    try {
      return await body();
    } finally {
      this.state.drainEnd?.();
      this.#quiesced -= 1;
    }
  }

  async close(): Promise<void> {
    await this.whileDrained(() => this.state.close());
  }

  #inRange(offset: number, bytes: number): boolean {
    assert(this.#quiesced === 0, 'request to a drained node');
    if (!Number.isSafeInteger(offset) || offset < 0 || bytes < 0) return false;
    return offset + bytes <= this.length;
  }

  #finish(ret: MaybeRet): MaybeRet {
    if (typeof ret === 'number') return ret;
    this.#inFlight += 1;
    return this.#context.track(ret).then((later) => {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) for (const wake of this.#drained.splice(0)) wake();
      return later;
    });
  }

  async #writeZeroesOut(offset: number, bytes: number, flags: number): Promise<number> {
    for (let done = 0; done < bytes; done += ZERO_CHUNK.length) {
      const chunk = Math.min(ZERO_CHUNK.length, bytes - done);
      const zeroes = IOVector.of(ZERO_CHUNK.subarray(0, chunk));
      const last = done + chunk === bytes;
      const ret = await this.pwritev(offset + done, zeroes, last ? flags & REQ_FUA : 0);
      if (ret < 0) return ret;
    }
    return OK;
  }
}
