// The driver of a node whose image is not open: between two openings, while it is inactive, or for good
// where it could not be opened again. Nothing goes through, and everything is told why.

import type { IOVector } from '../base/io-vector.ts';
import { EIO, EPERM, OK } from '../base/ret.ts';
import type { Ret } from '../base/ret.ts';
import type { BlockLimits, DriverState } from './block-driver.ts';

export class AbsentState implements DriverState {
  readonly length: number;
  readonly limits: BlockLimits;
  /** Closed by `inactivateAll`, clean, until `activateAll`. */
  readonly inactive: boolean;
  /** What the image is opened with again: `Carried.data` of the driver that was there. */
  readonly carried: unknown;
  readonly #ret: Ret;

  /** Stands in for `before`. */
  constructor(before: DriverState, inactive: boolean, carried: unknown) {
    this.length = before.length;
    this.limits = before.limits;
    this.inactive = inactive;
    this.carried = carried;
    this.#ret = inactive ? -EPERM : -EIO;
  }

  preadv(_offset: number, _qiov: IOVector): Ret {
    return this.#ret;
  }
  pwritev(): Ret {
    return this.#ret;
  }
  pwriteZeroes(): Ret {
    return this.#ret;
  }
  pdiscard(): Ret {
    return this.#ret;
  }
  blockStatus(): Ret {
    return this.#ret;
  }
  async truncate(): Promise<Ret> {
    return this.#ret;
  }
  /** What is inactive was flushed before. */
  flush(): Ret {
    return this.inactive ? OK : this.#ret;
  }
  info(): Record<string, unknown> {
    return this.inactive ? { inactive: true } : { lost: true };
  }
  async close(): Promise<void> {}
}
