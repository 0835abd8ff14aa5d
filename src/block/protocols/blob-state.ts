// An open Blob. A read that the cached chunks hold is answered at once; any other waits for slices of
// the blob, a few at a time. What cannot be read is -EIO: a file that changed on disk since it was
// chosen fails, rather than mixing two states of it.

import { ECANCELED, EIO, OK } from '../../base/ret.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import type { IOVector } from '../../base/io-vector.ts';
import { ANY_RANGE } from '../block-driver.ts';
import type { BlockLimits, DriverState } from '../block-driver.ts';
import type { BlobOptions } from './blob.ts';
import { HttpCache } from './http-cache.ts';
import { HttpRead, copyChunk } from './http-read.ts';

/** Slices being read at once; each takes a chunk of memory. */
const MAX_SLICES = 4;
/** Larger reads are split by the node, bytes. */
const MAX_TRANSFER = 4 * 1024 * 1024;

export class BlobState implements DriverState {
  readonly length: number;
  readonly limits: BlockLimits;
  readonly #nodeName: string;
  readonly #blob: Blob;
  readonly #chunkSize: number;
  readonly #cache: HttpCache;
  readonly #notice: (message: string) => void;
  /** Who waits, by chunk; those being read, then those that will be. */
  readonly #waiting = new Map<number, HttpRead[]>();
  #queue: number[] = [];
  #slices = 0;
  #reads = 0;
  #failures = 0;
  #lastError: string | undefined;
  #closed = false;

  constructor(nodeName: string, options: BlobOptions, notice: (message: string) => void) {
    const { blob, chunkSize, cacheSize } = options;
    this.#nodeName = nodeName;
    this.#blob = blob;
    this.#chunkSize = chunkSize;
    this.#notice = notice;
    this.length = blob.size;
    this.limits = { ...ANY_RANGE, maxTransfer: MAX_TRANSFER, optTransfer: chunkSize };
    this.#cache = new HttpCache(chunkSize, Math.floor(cacheSize / chunkSize));
  }

  preadv(offset: number, qiov: IOVector): MaybeRet {
    if (this.#closed) return -EIO;
    const last = Math.ceil((offset + qiov.size) / this.#chunkSize) - 1;
    for (let chunk = Math.floor(offset / this.#chunkSize); chunk <= last; chunk++) {
      const slot = this.#cache.find(chunk);
      if (slot === -1) return this.#readRest(offset, qiov, chunk, last);
      copyChunk(offset, qiov, chunk * this.#chunkSize, this.#cache.bytes(slot));
    }
    return OK;
  }

  /** A File has a date; a Blob is its page's, and gone with it. */
  async generation(): Promise<string | undefined> {
    if (!('lastModified' in this.#blob)) return undefined;
    return `file-${String(this.#blob.lastModified)}-${this.length}`;
  }

  info(): Record<string, unknown> {
    const name = 'name' in this.#blob ? { name: this.#blob.name } : {};
    const lastError = this.#lastError === undefined ? {} : { lastError: this.#lastError };
    return { ...name, type: this.#blob.type, chunkSize: this.#chunkSize, ...lastError };
  }

  counters(): Record<string, number> {
    return {
      reads: this.#reads,
      failures: this.#failures,
      cacheHits: this.#cache.hits,
      cacheMisses: this.#cache.misses,
      cacheEvictions: this.#cache.evictions,
      cacheMemory: this.#cache.memory,
    };
  }

  cancelInFlight(): void {
    this.#queue = [];
    for (const chunk of [...this.#waiting.keys()]) this.#failChunk(chunk, -ECANCELED);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.cancelInFlight();
  }

  /** Waits for the chunks from `missing` on that are not there; those before are copied already. */
  #readRest(offset: number, qiov: IOVector, missing: number, last: number): Promise<Ret> {
    const read = new HttpRead(offset, qiov, this.#chunkSize, last - missing + 1);
    for (let chunk = missing; chunk <= last; chunk++) {
      const slot = chunk === missing ? -1 : this.#cache.find(chunk);
      if (slot === -1) this.#demand(chunk, read);
      else read.arrived(chunk, this.#cache.bytes(slot));
    }
    return read.done;
  }

  #demand(chunk: number, read: HttpRead): void {
    const others = this.#waiting.get(chunk);
    if (others !== undefined) {
      others.push(read);
      return;
    }
    this.#waiting.set(chunk, [read]);
    this.#queue.push(chunk);
    this.#startMore();
  }

  #startMore(): void {
    while (this.#slices < MAX_SLICES) {
      const chunk = this.#queue.shift();
      if (chunk === undefined) return;
      this.#slices += 1;
      void this.#readSlice(chunk);
    }
  }

  async #readSlice(chunk: number): Promise<void> {
    const start = chunk * this.#chunkSize;
    const end = Math.min(start + this.#chunkSize, this.length);
    this.#reads += 1;
    try {
      const bytes = new Uint8Array(await this.#blob.slice(start, end).arrayBuffer());
      if (bytes.length !== end - start) {
        throw new Error(`reading ${end - start} bytes at ${start} got ${bytes.length}`);
      }
      this.#arrived(chunk, bytes);
    } catch (error) {
      this.#failed(chunk, error);
    }
    this.#slices -= 1;
    this.#startMore();
  }

  #arrived(chunk: number, bytes: Uint8Array): void {
    // Canceled meanwhile, or asked for once more after that.
    if (!this.#cache.has(chunk) && !this.#closed) {
      const slot = this.#cache.take();
      this.#cache.bytes(slot).set(bytes);
      this.#cache.publish(slot, chunk);
    }
    const reads = this.#waiting.get(chunk) ?? [];
    this.#waiting.delete(chunk);
    this.#queue = this.#queue.filter((queued) => queued !== chunk);
    for (const read of reads) read.arrived(chunk, bytes);
  }

  #failed(chunk: number, error: unknown): void {
    const known = this.#lastError !== undefined;
    this.#failures += 1;
    this.#lastError = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (!known) {
      this.#notice(
        `${this.#nodeName}: the file cannot be read any more (${this.#lastError}); it was changed or ` +
          'removed since it was chosen. What was not read before fails; choose it again',
      );
    }
    this.#failChunk(chunk, -EIO);
  }

  #failChunk(chunk: number, ret: Ret): void {
    const reads = this.#waiting.get(chunk) ?? [];
    this.#waiting.delete(chunk);
    for (const read of reads) read.failed(ret);
  }
}
