// A disk with a volatile write cache and a power switch. Until a flush is answered, each sector
// written since the last one is on the medium or is not, in any combination, and so is a change of
// length: what a real disk may do. It can also fail every k-th operation, and answer late and out of
// order.

import type { IOVector } from '../base/io-vector.ts';
import { EIO, OK } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import { ANY_RANGE } from '../block/block-driver.ts';
import type { BlockLimits, DriverState } from '../block/block-driver.ts';
import type { Prng } from './prng.ts';

const SECTOR = 512;

export interface SimDiskOptions {
  /** Answers come as promises, after a random number of microtasks. */
  readonly late?: Prng;
  /** Every n-th operation, reads and flushes too, answers -EIO and does nothing; 0 for none. */
  readonly failEvery?: number;
  /** A broken disk: flushes are answered and forgotten. The canary of the crash tests. */
  readonly ignoreFlush?: boolean;
  /** The power fails before this write, flush or resize (1 is the first); see `wreck`. */
  readonly cutAt?: number;
  /** Decides what survives the cut. */
  readonly cutPrng?: Prng;
}

export class SimDisk implements DriverState {
  readonly limits: BlockLimits = ANY_RANGE;
  failEvery: number;
  /** See SimDiskOptions. */
  ignoreFlush: boolean;
  reads = 0;
  writes = 0;
  flushes = 0;
  failures = 0;
  /** Promises answered. */
  promises = 0;
  #bytes: Uint8Array;
  /** What survives a power cut, once `crash` has decided about the rest. */
  #durable: Uint8Array;
  #length: number;
  #durableLength: number;
  readonly #unflushed = new Set<number>();
  readonly #late: Prng | undefined;
  #cutAt: number;
  #cutPrng: Prng | undefined;
  /** What the power cut left; every operation since answers -EIO. */
  wreck: Uint8Array | undefined;
  #operations = 0;
  #changes = 0;

  constructor(bytes: Uint8Array, options: SimDiskOptions = {}) {
    this.#bytes = bytes.slice();
    this.#durable = bytes.slice();
    this.#length = bytes.length;
    this.#durableLength = bytes.length;
    this.#late = options.late;
    this.failEvery = options.failEvery ?? 0;
    this.ignoreFlush = options.ignoreFlush ?? false;
    this.#cutAt = options.cutAt ?? 0;
    this.#cutPrng = options.cutPrng;
  }

  get length(): number {
    return this.#length;
  }

  preadv(offset: number, qiov: IOVector): MaybeRet {
    this.reads += 1;
    return this.#answer(() => qiov.copyFrom(this.#bytes, offset, 0, qiov.size));
  }

  pwritev(offset: number, qiov: IOVector): MaybeRet {
    this.writes += 1;
    return this.#change(() => {
      qiov.copyTo(this.#bytes, offset);
      const last = Math.floor((offset + qiov.size - 1) / SECTOR);
      for (let s = Math.floor(offset / SECTOR); s <= last; s++) this.#unflushed.add(s);
    });
  }

  flush(): MaybeRet {
    this.flushes += 1;
    // What was written when the flush comes in; what comes meanwhile is not covered.
    const covered = [...this.#unflushed];
    const length = this.#length;
    return this.#change(() => {
      if (this.ignoreFlush) return;
      this.#setDurableLength(length);
      for (const sector of covered) this.#persist(sector);
    });
  }

  truncate(length: number): Promise<Ret> {
    return Promise.resolve(this.#change(() => this.#resize(length)));
  }

  async close(): Promise<void> {}

  /** The bytes as a reader sees them now. */
  snapshot(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** The power fails before the `changes`-th write, flush or resize from now on; see `wreck`. */
  cutIn(changes: number, prng: Prng): void {
    this.#cutAt = this.#changes + changes;
    this.#cutPrng = prng;
  }

  /** What a power cut now leaves: all that was flushed, and of the rest whatever `prng` says. */
  crash(prng: Prng): Uint8Array {
    const keep = prng.pick([0, 10, 50, 90, 100]);
    if (prng.chance(keep)) this.#setDurableLength(this.#length);
    for (const sector of this.#unflushed) if (prng.chance(keep)) this.#persist(sector);
    return this.#durable.slice(0, this.#durableLength);
  }

  #change(work: () => void): MaybeRet {
    this.#changes += 1;
    if (this.#changes === this.#cutAt) this.wreck = this.crash(this.#cutPrng!);
    return this.#answer(work);
  }

  #answer(work: () => void): MaybeRet {
    this.#operations += 1;
    const fails = this.failEvery > 0 && this.#operations % this.failEvery === 0;
    const perform = (): Ret => {
      if (this.wreck !== undefined) return -EIO;
      if (fails) {
        this.failures += 1;
        return -EIO;
      }
      work();
      return OK;
    };
    if (this.#late === undefined) return perform();
    this.promises += 1;
    return this.#after(this.#late.below(12), perform);
  }

  async #after(turns: number, perform: () => Ret): Promise<Ret> {
    for (let i = 0; i < turns; i++) await Promise.resolve();
    return perform();
  }

  #persist(sector: number): void {
    const from = sector * SECTOR;
    const to = Math.min(from + SECTOR, this.#length, this.#durable.length);
    if (to > from) this.#durable.set(this.#bytes.subarray(from, to), from);
    this.#durableLength = Math.max(this.#durableLength, Math.min(to, this.#length));
    this.#unflushed.delete(sector);
  }

  #resize(length: number): void {
    const resized = (old: Uint8Array): Uint8Array => {
      if (length <= old.length) return old;
      const bytes = new Uint8Array(Math.max(length, 2 * old.length));
      bytes.set(old);
      return bytes;
    };
    if (length < this.#length) this.#bytes.fill(0, length);
    this.#bytes = resized(this.#bytes);
    this.#durable = resized(this.#durable);
    this.#length = length;
  }

  #setDurableLength(length: number): void {
    if (length < this.#durableLength) this.#durable.fill(0, length);
    this.#durableLength = length;
  }
}
