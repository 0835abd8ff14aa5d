// Brings records into memory. What is asked for in one turn of the loop goes into one transaction,
// since a transaction costs more than the records in it; a record that several wait for is read once.

import { getMany } from 'idb-keyval';
import type { AioContext, BottomHalf } from '../../aio/aio-context.ts';
import { EIO } from '../../base/ret.ts';
import type { Ret } from '../../base/ret.ts';
import type { IdbCache } from './idb-cache.ts';
import type { IdbConnection } from './idb-connection.ts';
import type { IdbZeroes } from './idb-zeroes.ts';

/** Records of one transaction at most. */
export const BATCH_RECORDS = 64;

/** Who waits for a record. Neither call may throw. */
export interface RecordWaiter {
  /** `record` is in `slot`, which is good until the next turn only. */
  arrived(record: number, slot: number): void;
  failed(ret: Ret): void;
}

export interface IdbLoaderParts {
  readonly aioContext: AioContext;
  readonly cache: IdbCache;
  readonly zeroes: IdbZeroes;
  readonly connection: IdbConnection;
  /** Counts the failure and answers its errno. */
  failed(error: unknown): Ret;
}

export class IdbLoader {
  readonly #parts: IdbLoaderParts;
  readonly #waiting = new Map<number, RecordWaiter[]>();
  #asked: number[] = [];
  readonly #bottomHalf: BottomHalf;
  transactions = 0;
  records = 0;

  constructor(parts: IdbLoaderParts) {
    this.#parts = parts;
    this.#bottomHalf = parts.aioContext.newBottomHalf(() => this.#start());
  }

  /** Asks for a record that is neither in memory nor known to be zero. */
  demand(record: number, waiter: RecordWaiter): void {
    const others = this.#waiting.get(record);
    if (others !== undefined) {
      others.push(waiter);
      return;
    }
    this.#waiting.set(record, [waiter]);
    this.#asked.push(record);
    this.#bottomHalf.schedule();
  }

  #start(): void {
    const asked = this.#asked;
    this.#asked = [];
    for (let at = 0; at < asked.length; at += BATCH_RECORDS) {
      void this.#load(asked.slice(at, at + BATCH_RECORDS));
    }
  }

  async #load(records: readonly number[]): Promise<void> {
    this.transactions += 1;
    this.records += records.length;
    let values: unknown[] = [];
    let ret: Ret = 0;
    try {
      values = await getMany<unknown>([...records], this.#parts.connection.reader);
    } catch (error) {
      ret = this.#parts.failed(error);
    }
    records.forEach((record, i) => {
      const waiters = this.#waiting.get(record)!;
      this.#waiting.delete(record);
      const slot = ret < 0 ? ret : this.#publish(record, values[i]);
      for (const waiter of waiters) {
        if (slot < 0) waiter.failed(slot);
        else waiter.arrived(record, slot);
      }
    });
  }

  /** The slot of `record`, or -EIO. What happened to it in memory meanwhile is newer than `value`. */
  #publish(record: number, value: unknown): number {
    const { cache, zeroes } = this.#parts;
    const there = cache.find(record);
    if (there !== -1) return there;
    if (value === undefined || zeroes.covers(record)) {
      const slot = cache.add(record);
      cache.bytes(slot).fill(0);
      return slot;
    }
    if (!(value instanceof Uint8Array) || value.length !== cache.recordSize) {
      this.#parts.failed(new Error(`record ${record} is not ${cache.recordSize} bytes`));
      return -EIO;
    }
    const slot = cache.add(record);
    cache.bytes(slot).set(value);
    return slot;
  }
}
