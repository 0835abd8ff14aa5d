// Brings dirty records to the database. Between flushes they go in batches, when there are many; a
// flush is one strict transaction with all of them and the header, so it happens wholly or not at
// all. Transactions come one after another, and what one could not store stays in memory.

import type { AioContext, BottomHalf } from '../../aio/aio-context.ts';
import { OK } from '../../base/ret.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import type { IdbCache } from './idb-cache.ts';
import type { Durability, IdbConnection } from './idb-connection.ts';
import type { IdbEnvironment } from './idb-environment.ts';
import { HEADER_KEY, encodeHeader } from './idb-header.ts';
import type { IdbHeader } from './idb-header.ts';
import { BATCH_RECORDS } from './idb-loader.ts';
import type { IdbZeroes, RecordRange } from './idb-zeroes.ts';

export interface IdbWriterParts {
  readonly aioContext: AioContext;
  readonly environment: IdbEnvironment;
  readonly cache: IdbCache;
  readonly zeroes: IdbZeroes;
  readonly connection: IdbConnection;
  /** Counts the failure and answers its errno. */
  failed(error: unknown): Ret;
}

interface Waiting {
  readonly records: number;
  readonly resolve: (ret: Ret) => void;
}

export class IdbWriter {
  readonly #parts: IdbWriterParts;
  /** Dirty records, and those promised to writes under way, at most. */
  readonly #budget: number;
  /** As stored. */
  #header: IdbHeader;
  /** Bytes; stored with the next transaction. */
  length: number;
  #reserved = 0;
  #waiting: Waiting[] = [];
  /** Settles when the last transaction begun or waiting is over. */
  #tail: Promise<Ret> = Promise.resolve(OK);
  /** Transactions under way or waiting. */
  #pending = 0;
  #writingBack = false;
  /** True after a transaction that need not survive a power cut. */
  #relaxed = false;
  /** True once all that is there survives one; the last ones of an earlier life may not. */
  #strict = false;
  readonly #bottomHalf: BottomHalf;
  transactions = 0;
  records = 0;

  constructor(parts: IdbWriterParts, header: IdbHeader) {
    this.#parts = parts;
    this.#header = header;
    this.length = header.length;
    this.#budget = Math.floor(parts.cache.capacity / 2);
    this.#bottomHalf = parts.aioContext.newBottomHalf(() => {
      void parts.aioContext.track(this.#writeBack());
    });
  }

  get header(): IdbHeader {
    return this.#header;
  }

  /** True when `records` more may become dirty, and nobody waited longer for that. */
  hasRoom(records: number): boolean {
    return this.#waiting.length === 0 && this.#fits(records);
  }

  /** Answers OK once `records` more may become dirty; they are reserved until `release`. */
  reserve(records: number): MaybeRet {
    if (this.hasRoom(records)) {
      this.#reserved += records;
      return OK;
    }
    return new Promise((resolve) => {
      this.#waiting.push({ records, resolve });
      this.#bottomHalf.schedule();
    });
  }

  release(records: number): void {
    this.#reserved -= records;
    if (this.#waiting.length > 0) this.#bottomHalf.schedule();
  }

  /** Records became dirty, or zero: begins to store them when there are many. */
  dirtied(): void {
    if (this.#isMuch()) this.#bottomHalf.schedule();
  }

  /** Stores everything in one strict transaction. At once when there is nothing to store. */
  flush(): MaybeRet {
    if (this.#pending === 0 && this.#isStored()) return OK;
    return this.#inTurn(async () => (this.#isStored() ? OK : this.#commit(Infinity, 'strict')));
  }

  /** Makes durable what is stored, whoever stored it: the name of the contents goes by it. */
  settle(): MaybeRet {
    return this.#strict ? OK : this.#inTurn(() => this.#commit(Infinity, 'strict'));
  }

  /**
   * Makes the disk shorter, in one strict transaction: deletes records from `first` on and stores
   * `tail`, where there is one, as the record before. Memory is the caller's. Flushed before.
   */
  shrink(length: number, first: number, tail: Uint8Array | undefined): Promise<Ret> {
    return this.#inTurn(async () => {
      const header = { ...this.#header, length, generation: this.#header.generation + 1 };
      const ret = await this.#transact('strict', (store) => {
        store.delete(this.#keys({ first, last: Number.MAX_SAFE_INTEGER }));
        if (tail !== undefined) store.put(tail, first - 1);
        store.put(encodeHeader(header), HEADER_KEY);
      });
      if (ret < 0) return ret;
      this.#header = header;
      this.length = length;
      return OK;
    });
  }

  /** Settles when no transaction is under way. */
  async idle(): Promise<void> {
    this.#bottomHalf.cancel();
    while (this.#pending > 0) await this.#tail;
  }

  #isStored(): boolean {
    const { cache, zeroes } = this.#parts;
    const { length } = this.#header;
    return !this.#relaxed && cache.dirty.size === 0 && zeroes.empty && this.length === length;
  }

  #fits(records: number): boolean {
    return this.#parts.cache.dirty.size + this.#reserved + records <= this.#budget;
  }

  #isMuch(): boolean {
    const { cache, zeroes } = this.#parts;
    if (this.#waiting.length > 0) return cache.dirty.size > 0;
    return cache.dirty.size > this.#budget / 2 || zeroes.full;
  }

  async #writeBack(): Promise<void> {
    this.#admit();
    // A flush that waits stores all there is.
    if (this.#writingBack || this.#pending > 0) return;
    this.#writingBack = true;
    for (let ret: Ret = OK; ret >= 0 && this.#pending === 0 && this.#isMuch();) {
      ret = await this.#inTurn(() => this.#commit(BATCH_RECORDS, 'relaxed'));
    }
    this.#writingBack = false;
    this.#goOn();
  }

  /** Those who began to wait when a transaction had just failed get one of their own. */
  #goOn(): void {
    // With nothing dirty they wait for a `release`, which says so itself.
    const canStore = this.#pending === 0 && this.#parts.cache.dirty.size > 0;
    if (canStore && this.#waiting.length > 0) this.#bottomHalf.schedule();
  }

  /** Runs `work`, which answers later and never rejects, after those before it. */
  #inTurn(work: () => Promise<Ret>): Promise<Ret> {
    this.#pending += 1;
    this.#tail = this.#tail.then(work).then((ret) => {
      this.#pending -= 1;
      this.#goOn();
      return ret;
    });
    return this.#tail;
  }

  /** One transaction: deletions first, then up to `most` dirty records, then the header. */
  async #commit(most: number, durability: Durability): Promise<Ret> {
    const { cache, zeroes } = this.#parts;
    const generation = this.#header.generation + 1;
    let header = this.#header;
    let slots: number[] = [];
    let versions: number[] = [];
    const ret = await this.#transact(durability, (store) => {
      // Looked at anew when the transaction is done again: the guest goes on meanwhile.
      header = { ...header, length: this.length, generation };
      slots = [...cache.dirty].slice(0, most);
      versions = slots.map((slot) => cache.version(slot));
      for (const range of zeroes.begin()) store.delete(this.#keys(range));
      for (const slot of slots) store.put(cache.bytes(slot), cache.recordIn(slot));
      store.put(encodeHeader(header), HEADER_KEY);
    });
    zeroes.end(ret >= 0);
    if (ret >= 0) {
      slots.forEach((slot, i) => cache.written(slot, versions[i]!));
      this.#header = header;
      this.#relaxed = durability === 'relaxed';
      this.#strict ||= !this.#relaxed;
      this.records += slots.length;
      this.#admit();
      if (this.#isMuch()) this.#bottomHalf.schedule();
    } else {
      for (const { resolve } of this.#waiting.splice(0)) resolve(ret);
    }
    return ret;
  }

  async #transact(durability: Durability, fill: (store: IDBObjectStore) => void): Promise<Ret> {
    this.transactions += 1;
    try {
      await this.#parts.connection.run('readwrite', durability, async (store) => fill(store));
      return OK;
    } catch (error) {
      return this.#parts.failed(error);
    }
  }

  /** Lets those go on that there is room for, in their order. */
  #admit(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || !this.#fits(next.records)) return;
      this.#waiting.shift();
      this.#reserved += next.records;
      next.resolve(OK);
    }
  }

  #keys({ first, last }: RecordRange): IDBKeyRange {
    return this.#parts.environment.range(first, last);
  }
}
