// The bounded memory that fetched bytes live in: slots of one chunk each, made when first needed
// and used again for ever after. A slot being filled belongs to its request and cannot be evicted;
// only `publish`, after every check, makes its bytes findable.

import { LruList } from '../../base/lru.ts';

/** What guests read most; views of that size are kept. Bytes. */
export const CACHE_PAGE = 4096;

export class HttpCache {
  /** Bytes; a power of two. */
  readonly chunkSize: number;
  /** Slots at most. */
  readonly capacity: number;
  hits = 0;
  misses = 0;
  evictions = 0;
  /** Slots whose memory exists. */
  #made = 0;
  readonly #bytes: Uint8Array[] = [];
  /** By slot and page in it: views made so far. */
  readonly #pages: (Uint8Array | undefined)[] = [];
  /** Chunk number in a published slot. */
  readonly #chunks: Float64Array;
  readonly #slots = new Map<number, number>();
  readonly #free: number[] = [];
  readonly #lru: LruList;

  constructor(chunkSize: number, capacity: number) {
    this.chunkSize = chunkSize;
    this.capacity = capacity;
    this.#chunks = new Float64Array(capacity);
    this.#lru = new LruList(capacity);
  }

  /** Memory in use, bytes; never more than `capacity` chunks. */
  get memory(): number {
    return this.#made * this.chunkSize;
  }

  has(chunk: number): boolean {
    return this.#slots.has(chunk);
  }

  /** The slot of a published chunk, which becomes the most recently used; -1 when there is none. */
  find(chunk: number): number {
    const slot = this.#slots.get(chunk);
    if (slot === undefined) {
      this.misses += 1;
      return -1;
    }
    this.hits += 1;
    this.#lru.touch(slot);
    return slot;
  }

  /** The slot's bytes, `chunkSize` of them; past the image's end they mean nothing. */
  bytes(slot: number): Uint8Array {
    return this.#bytes[slot]!;
  }

  /** Page `page` of the slot, as a view that is made once. */
  page(slot: number, page: number): Uint8Array {
    const index = slot * (this.chunkSize / CACHE_PAGE) + page;
    const start = page * CACHE_PAGE;
    return (this.#pages[index] ??= this.bytes(slot).subarray(start, start + CACHE_PAGE));
  }

  /** A slot to fill, evicting the chunk used longest ago; -1 when all are being filled. */
  take(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#made < this.capacity) {
      this.#bytes.push(new Uint8Array(this.chunkSize));
      this.#made += 1;
      return this.#made - 1;
    }
    const oldest = this.#lru.oldest;
    if (oldest === -1) return -1;
    this.#lru.remove(oldest);
    this.#slots.delete(this.#chunks[oldest]!);
    this.evictions += 1;
    return oldest;
  }

  /** `slot` holds all of `chunk`, verified. */
  publish(slot: number, chunk: number): void {
    this.#chunks[slot] = chunk;
    this.#slots.set(chunk, slot);
    this.#lru.touch(slot);
  }

  /** Gives back a slot whose filling failed. */
  giveBack(slot: number): void {
    this.#free.push(slot);
  }
}
