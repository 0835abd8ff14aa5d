// The records in memory: slots of one record each, made when first needed. Clean ones go when room is
// needed, the one used longest ago first; dirty ones stay until a transaction that has them is
// complete. Each slot has a buffer of its own, since storing a view would store the whole buffer.

import { assert } from '../../base/assert.ts';
import { LruList } from '../../base/lru.ts';

export class IdbCache {
  /** Bytes. */
  readonly recordSize: number;
  /** Slots at most. */
  readonly capacity: number;
  hits = 0;
  misses = 0;
  evictions = 0;
  /** Slots that must be written, the one that waits longest first. */
  readonly dirty: Set<number> = new Set();
  readonly #bytes: Uint8Array[] = [];
  /** By slot: number of its record, -1 for none. */
  readonly #records: Float64Array;
  /** By slot: changes with every change of contents or of record. */
  readonly #versions: Float64Array;
  readonly #slots = new Map<number, number>();
  readonly #free: number[] = [];
  /** Clean slots. */
  readonly #lru: LruList;
  #changes = 0;

  constructor(recordSize: number, capacity: number) {
    this.recordSize = recordSize;
    this.capacity = capacity;
    this.#records = new Float64Array(capacity).fill(-1);
    this.#versions = new Float64Array(capacity);
    this.#lru = new LruList(capacity);
  }

  /** Memory in use, bytes; never more than `capacity` records. */
  get memory(): number {
    return this.#bytes.length * this.recordSize;
  }

  /** The slot of `record`, which becomes the most recently used; -1 when it is not in memory. */
  find(record: number): number {
    const slot = this.#slots.get(record);
    if (slot === undefined) return -1;
    if (this.#lru.has(slot)) this.#lru.touch(slot);
    return slot;
  }

  has(record: number): boolean {
    return this.#slots.has(record);
  }

  bytes(slot: number): Uint8Array {
    return this.#bytes[slot]!;
  }

  /** The record that `slot` holds; -1 for none. */
  recordIn(slot: number): number {
    return this.#records[slot]!;
  }

  /** Tells whether a slot changed since. */
  version(slot: number): number {
    return this.#versions[slot]!;
  }

  /**
   * A clean slot for `record`, which has none; its bytes are what was there before. The caller keeps
   * the dirty ones below `capacity`.
   */
  add(record: number): number {
    const slot = this.#take();
    this.#records[slot] = record;
    this.#versions[slot] = ++this.#changes;
    this.#slots.set(record, slot);
    this.#lru.touch(slot);
    return slot;
  }

  /** The bytes of `slot` were changed. */
  changed(slot: number): void {
    this.#versions[slot] = ++this.#changes;
    this.#lru.remove(slot);
    this.dirty.add(slot);
  }

  /** `slot` is stored as it was at `version`; it stays dirty if it has changed since. */
  written(slot: number, version: number): void {
    if (this.#versions[slot] !== version || !this.dirty.delete(slot)) return;
    this.#lru.touch(slot);
  }

  /** Forgets the records from `first` to `last`, dirty or not. */
  drop(first: number, last: number): void {
    if (last - first > this.#slots.size) {
      for (const record of [...this.#slots.keys()]) {
        if (record >= first && record <= last) this.#dropOne(record);
      }
    } else for (let record = first; record <= last; record++) this.#dropOne(record);
  }

  #dropOne(record: number): void {
    const slot = this.#slots.get(record);
    if (slot === undefined) return;
    this.#slots.delete(record);
    this.#records[slot] = -1;
    this.#versions[slot] = ++this.#changes;
    this.#lru.remove(slot);
    this.dirty.delete(slot);
    this.#free.push(slot);
  }

  #take(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#bytes.length < this.capacity) {
      return this.#bytes.push(new Uint8Array(this.recordSize)) - 1;
    }
    const oldest = this.#lru.oldest;
    assert(oldest !== -1, 'a cache with clean slots');
    this.#lru.remove(oldest);
    this.#slots.delete(this.#records[oldest]!);
    this.evictions += 1;
    return oldest;
  }
}
