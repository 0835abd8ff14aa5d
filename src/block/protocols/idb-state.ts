// An open disk in IndexedDB. What the records in memory can answer is answered at once; the rest
// waits for a transaction. Writes change records in memory: the database hears of them in batches, and
// for certain with a flush.

import type { IOVector } from '../../base/io-vector.ts';
import { ECANCELED, EIO, ENOSPC, EROFS, OK } from '../../base/ret.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import type { AioContext } from '../../aio/aio-context.ts';
import { promisifyRequest } from 'idb-keyval';
import { BlockError } from '../block-error.ts';
import { ANY_RANGE, REQ_MAY_UNMAP } from '../block-driver.ts';
import type { BlockLimits, BlockStatus, DriverState, Leaving } from '../block-driver.ts';
import { IdbCache } from './idb-cache.ts';
import type { IdbConnection } from './idb-connection.ts';
import type { IdbEnvironment } from './idb-environment.ts';
import type { IdbHeader } from './idb-header.ts';
import { IdbLoader } from './idb-loader.ts';
import { IdbTransfer } from './idb-transfer.ts';
import { IdbWriter } from './idb-writer.ts';
import { IdbZeroes } from './idb-zeroes.ts';

/** Requests are split into pieces of this many bytes, so that one fits into the dirty records. */
const MAX_TRANSFER = 1024 * 1024;
/** Records that `blockStatus` looks at in one go. */
const STATUS_RECORDS = 1024;

export interface IdbStateParts {
  readonly environment: IdbEnvironment;
  readonly aioContext: AioContext;
  readonly nodeName: string;
  readonly database: string;
  /** Open; closed by `close`. */
  readonly connection: IdbConnection;
  readonly header: IdbHeader;
  /** Bytes of memory for records; half of it for dirty ones. */
  readonly cacheSize: number;
  readonly readOnly: boolean;
  readonly locked: boolean;
  /** Lets go of the lock. */
  release(): void;
  notice(message: string): void;
}

export class IdbState implements DriverState {
  readonly limits: BlockLimits;
  readonly leave?: () => Leaving;
  readonly #parts: IdbStateParts;
  readonly #recordSize: number;
  readonly #cache: IdbCache;
  readonly #zeroes = new IdbZeroes();
  readonly #loader: IdbLoader;
  readonly #writer: IdbWriter;
  #left = false;
  #closing: Promise<void> | undefined;
  #failures = 0;
  #lastError: string | undefined;
  #full = false;

  constructor(parts: IdbStateParts) {
    this.#parts = parts;
    if (parts.locked && !parts.readOnly) {
      this.leave = () => {
        this.#left = true;
        return (takenOver) => takenOver || parts.release();
      };
    }
    const { recordSize } = parts.header;
    this.#recordSize = recordSize;
    this.limits = {
      ...ANY_RANGE,
      maxTransfer: MAX_TRANSFER,
      optTransfer: recordSize,
      pwriteZeroesAlignment: recordSize,
      pdiscardAlignment: recordSize,
      supportedZeroFlags: REQ_MAY_UNMAP,
    };
    this.#cache = new IdbCache(recordSize, Math.floor(parts.cacheSize / recordSize));
    const shared = {
      aioContext: parts.aioContext,
      environment: parts.environment,
      cache: this.#cache,
      zeroes: this.#zeroes,
      connection: parts.connection,
      failed: (error: unknown): Ret => this.#failed(error),
    };
    this.#loader = new IdbLoader(shared);
    this.#writer = new IdbWriter(shared, parts.header);
  }

  get length(): number {
    return this.#writer.length;
  }

  preadv(offset: number, qiov: IOVector): MaybeRet {
    if (this.#isGone()) return -EIO;
    const last = this.#lastRecord(offset, qiov.size);
    for (let record = this.#recordAt(offset); record <= last; record++) {
      if (!this.#readRecord(record, offset, qiov)) {
        return this.#readLater(record, last, offset, qiov);
      }
    }
    return OK;
  }

  pwritev(offset: number, qiov: IOVector): MaybeRet {
    if (this.#isGone()) return -EIO;
    if (this.#parts.readOnly) return -EROFS;
    const first = this.#recordAt(offset);
    const last = this.#lastRecord(offset, qiov.size);
    const records = last - first + 1;
    // Only the records at the ends can be covered in part.
    const atHand =
      this.#writer.hasRoom(records) &&
      this.#canWrite(first, offset, qiov.size) &&
      this.#canWrite(last, offset, qiov.size);
    if (!atHand) return this.#writeLater(first, last, offset, qiov);
    for (let record = first; record <= last; record++) this.#writeRecord(record, offset, qiov);
    this.#writer.dirtied();
    return OK;
  }

  pwriteZeroes(offset: number, bytes: number): MaybeRet {
    if (this.#isGone()) return -EIO;
    if (this.#parts.readOnly) return -EROFS;
    if (!this.#zeroes.full) return this.#zero(offset, bytes);
    return this.#zeroLater(offset, bytes);
  }

  pdiscard(offset: number, bytes: number): MaybeRet {
    return this.pwriteZeroes(offset, bytes);
  }

  flush(): MaybeRet {
    if (this.#parts.readOnly) return OK;
    return this.#isGone() ? -EIO : this.#writer.flush();
  }

  async blockStatus(offset: number, bytes: number): Promise<BlockStatus | Ret> {
    if (this.#isGone()) return -EIO;
    const first = this.#recordAt(offset);
    const last = Math.min(this.#lastRecord(offset, bytes), first + STATUS_RECORDS - 1);
    let stored: Set<number>;
    try {
      const range = this.#parts.environment.range(first, last);
      const keys = await this.#parts.connection.reader('readonly', (store) =>
        promisifyRequest(store.getAllKeys(range)),
      );
      stored = new Set(keys as number[]);
    } catch (error) {
      return this.#failed(error);
    }
    const isZero = (record: number): boolean => {
      const slot = this.#cache.find(record);
      if (slot !== -1 && this.#cache.dirty.has(slot)) return false;
      return this.#zeroes.covers(record) || !stored.has(record);
    };
    const zero = isZero(first);
    let end = first + 1;
    while (end <= last && isZero(end) === zero) end += 1;
    const to = Math.min(end * this.#recordSize, offset + bytes);
    return { bytes: to - offset, allocated: true, zero };
  }

  async truncate(length: number): Promise<Ret> {
    if (this.#isGone()) return -EIO;
    if (this.#parts.readOnly) return -EROFS;
    // Beyond the end is nothing but zeroes, so a longer disk is a matter of its header.
    if (length >= this.length) {
      this.#writer.length = length;
      return OK;
    }
    return this.#shrink(length);
  }

  /** Each transaction brings its number along with what it changes. */
  async generation(): Promise<string> {
    const { nodeName, readOnly } = this.#parts;
    const ret = readOnly ? OK : await this.#writer.settle();
    if (ret < 0)
      throw BlockError.fromRet(ret, `${nodeName}: cannot store its generation`, nodeName);
    const { id, generation } = this.#writer.header;
    return `idb-${id}-${generation}`;
  }

  info(): Record<string, unknown> {
    const { database, locked } = this.#parts;
    const { id, generation } = this.#writer.header;
    return {
      database,
      recordSize: this.#recordSize,
      id,
      generation,
      cacheSize: this.#cache.capacity * this.#recordSize,
      lock: locked ? 'web-lock' : 'none',
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
    };
  }

  counters(): Record<string, number> {
    const cache = this.#cache;
    return {
      cacheHits: cache.hits,
      cacheMisses: cache.misses,
      cacheEvictions: cache.evictions,
      cacheMemory: cache.memory,
      dirtyRecords: cache.dirty.size,
      readTransactions: this.#loader.transactions,
      recordsRead: this.#loader.records,
      writeTransactions: this.#writer.transactions,
      recordsWritten: this.#writer.records,
      reopened: this.#parts.connection.reopened,
      failures: this.#failures,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#writer.idle();
    this.#parts.connection.close();
    if (!this.#left) this.#parts.release();
  }

  #isGone(): boolean {
    return this.#closing !== undefined || this.#parts.connection.broken !== undefined;
  }

  #recordAt(offset: number): number {
    return Math.floor(offset / this.#recordSize);
  }

  /** The record that the range ends in; one before the first where the range is empty. */
  #lastRecord(offset: number, bytes: number): number {
    return Math.ceil((offset + bytes) / this.#recordSize) - 1;
  }

  /** Copies what a record has of the read; false when that is not in memory. */
  #readRecord(record: number, offset: number, qiov: IOVector): boolean {
    const slot = this.#cache.find(record);
    if (slot !== -1) {
      this.#cache.hits += 1;
      this.#copyOut(record, slot, offset, qiov);
      return true;
    }
    if (this.#zeroes.empty || !this.#zeroes.covers(record)) return false;
    const start = record * this.#recordSize;
    const from = Math.max(start, offset);
    qiov.fill(0, from - offset, Math.min(start + this.#recordSize, offset + qiov.size) - from);
    return true;
  }

  #copyOut(record: number, slot: number, offset: number, qiov: IOVector): void {
    const start = record * this.#recordSize;
    const from = Math.max(start, offset);
    const end = Math.min(start + this.#recordSize, offset + qiov.size);
    qiov.copyFrom(this.#cache.bytes(slot), from - start, from - offset, end - from);
  }

  /** Waits for those from `first` on that are not in memory. */
  async #readLater(first: number, last: number, offset: number, qiov: IOVector): Promise<Ret> {
    const missing: number[] = [];
    for (let record = first; record <= last; record++) {
      if (record === first || !this.#readRecord(record, offset, qiov)) missing.push(record);
    }
    this.#cache.misses += missing.length;
    return this.#load(missing, qiov, (record, slot) => this.#copyOut(record, slot, offset, qiov));
  }

  #load(
    records: readonly number[],
    qiov: IOVector,
    use: (record: number, slot: number) => void,
  ): Promise<Ret> {
    const transfer = new IdbTransfer(qiov, records.length, use);
    for (const record of records) this.#loader.demand(record, transfer);
    return transfer.done;
  }

  /** True when the write can change the record without reading it first. */
  #canWrite(record: number, offset: number, bytes: number): boolean {
    const start = record * this.#recordSize;
    const whole = offset <= start && offset + bytes >= start + this.#recordSize;
    return whole || this.#cache.has(record) || this.#zeroes.covers(record);
  }

  /** Changes a record that `#canWrite`. */
  #writeRecord(record: number, offset: number, qiov: IOVector): void {
    let slot = this.#cache.find(record);
    const start = record * this.#recordSize;
    const from = Math.max(start, offset);
    const bytes = Math.min(start + this.#recordSize, offset + qiov.size) - from;
    if (slot === -1) {
      slot = this.#cache.add(record);
      if (bytes < this.#recordSize) this.#cache.bytes(slot).fill(0);
    }
    qiov.copyTo(this.#cache.bytes(slot), from - start, from - offset, bytes);
    this.#cache.changed(slot);
  }

  async #writeLater(first: number, last: number, offset: number, qiov: IOVector): Promise<Ret> {
    const records = last - first + 1;
    const ret = await this.#writer.reserve(records);
    if (ret < 0) return ret;
    try {
      if (this.#isGone()) return -EIO;
      if (qiov.region.revoked) return -ECANCELED;
      const missing: number[] = [];
      for (let record = first; record <= last; record++) {
        if (this.#canWrite(record, offset, qiov.size)) this.#writeRecord(record, offset, qiov);
        else missing.push(record);
      }
      if (missing.length === 0) return OK;
      this.#cache.misses += missing.length;
      return await this.#load(missing, qiov, (record) => this.#writeRecord(record, offset, qiov));
    } finally {
      this.#writer.release(records);
      this.#writer.dirtied();
    }
  }

  #zero(offset: number, bytes: number): Ret {
    const first = this.#recordAt(offset);
    const last = this.#lastRecord(offset, bytes);
    if (last < first) return OK;
    this.#cache.drop(first, last);
    this.#zeroes.add(first, last);
    this.#writer.dirtied();
    return OK;
  }

  async #zeroLater(offset: number, bytes: number): Promise<Ret> {
    while (this.#zeroes.full) {
      const ret = await this.#writer.flush();
      if (ret < 0) return ret;
    }
    return this.#zero(offset, bytes);
  }

  /** The node is drained: nothing else happens meanwhile. */
  async #shrink(length: number): Promise<Ret> {
    const flushed = await this.#writer.flush();
    if (flushed < 0) return flushed;
    const first = this.#lastRecord(0, length) + 1;
    const within = length % this.#recordSize;
    let tail: Uint8Array | undefined;
    if (within !== 0) {
      const loaded = await this.#wholeRecord(first - 1);
      if (typeof loaded === 'number') return loaded;
      tail = loaded.fill(0, within);
    }
    const ret = await this.#writer.shrink(length, first, tail);
    if (ret < 0) return ret;
    this.#cache.drop(first - (tail === undefined ? 0 : 1), Number.MAX_SAFE_INTEGER);
    return OK;
  }

  /** A copy of a record's bytes. */
  #wholeRecord(record: number): Promise<Uint8Array | Ret> {
    const slot = this.#cache.find(record);
    if (slot !== -1) return Promise.resolve(this.#cache.bytes(slot).slice());
    return new Promise((resolve) => {
      this.#loader.demand(record, {
        arrived: (_record, there) => resolve(this.#cache.bytes(there).slice()),
        failed: resolve,
      });
    });
  }

  #failed(error: unknown): Ret {
    this.#failures += 1;
    this.#lastError = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (!(error instanceof Object && 'name' in error && error.name === 'QuotaExceededError')) {
      return -EIO;
    }
    if (!this.#full) {
      this.#full = true;
      const { nodeName, database } = this.#parts;
      this.#parts.notice(
        `${nodeName}: no storage left for idb database '${database}'; what was flushed is safe, what ` +
          'was not is kept in memory and tried again with the next flush',
      );
    }
    return -ENOSPC;
  }
}
