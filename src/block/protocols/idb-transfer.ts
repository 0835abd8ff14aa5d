// A request that waits for records. Each record is used the moment it arrives, before any other can
// take its slot, so a request holds no memory.

import { ECANCELED, OK } from '../../base/ret.ts';
import type { Ret } from '../../base/ret.ts';
import type { IOVector } from '../../base/io-vector.ts';
import type { RecordWaiter } from './idb-loader.ts';

export class IdbTransfer implements RecordWaiter {
  /** Settles when every record came or failed; the guest's memory is left alone from then on. */
  readonly done: Promise<Ret>;
  readonly #qiov: IOVector;
  readonly #use: (record: number, slot: number) => void;
  #left: number;
  #ret: Ret = OK;
  #resolve: (ret: Ret) => void = () => {};

  /** Waits for `records` records, 1 or more, and hands each of them to `use`. */
  constructor(qiov: IOVector, records: number, use: (record: number, slot: number) => void) {
    this.#qiov = qiov;
    this.#use = use;
    this.#left = records;
    this.done = new Promise((resolve) => (this.#resolve = resolve));
  }

  arrived(record: number, slot: number): void {
    if (this.#qiov.region.revoked) this.failed(-ECANCELED);
    else {
      this.#use(record, slot);
      this.#count();
    }
  }

  failed(ret: Ret): void {
    if (this.#ret === OK) this.#ret = ret;
    this.#count();
  }

  #count(): void {
    this.#left -= 1;
    if (this.#left === 0) this.#resolve(this.#ret);
  }
}
