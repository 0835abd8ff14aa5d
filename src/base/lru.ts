// Least-recently-used order over the slots of a fixed table. Two arrays of links and no objects, so
// that touching a slot on a hot path allocates nothing; what the slots hold is the caller's.

import { assert } from './assert.ts';

export class LruList {
  readonly capacity: number;
  /** Links of a ring; index `capacity` is its head: next = most recent, previous = least recent. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  /** For slots `0 … capacity - 1`, none of them in the list yet. */
  constructor(capacity: number) {
    assert(capacity > 0 && capacity < 2 ** 31 - 1, 'capacity out of range');
    this.capacity = capacity;
    this.#next = new Int32Array(capacity + 1).fill(-1);
    this.#previous = new Int32Array(capacity + 1).fill(-1);
    this.#next[capacity] = capacity;
    this.#previous[capacity] = capacity;
  }

  has(slot: number): boolean {
    return this.#next[slot] !== -1;
  }

  /** Makes `slot` the most recently used; adds it if it is not in the list. */
  touch(slot: number): void {
    const head = this.capacity;
    if (this.#next[head] === slot) return;
    if (this.has(slot)) this.remove(slot);
    const second = this.#next[head]!;
    this.#next[slot] = second;
    this.#previous[slot] = head;
    this.#previous[second] = slot;
    this.#next[head] = slot;
  }

  /** Takes `slot` out; a slot in use is not in the list, so that nobody evicts it. */
  remove(slot: number): void {
    const next = this.#next[slot]!;
    const previous = this.#previous[slot]!;
    if (next === -1) return;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[slot] = -1;
    this.#previous[slot] = -1;
  }

  /** The least recently used slot, or -1 when the list is empty. */
  get oldest(): number {
    const slot = this.#previous[this.capacity]!;
    return slot === this.capacity ? -1 : slot;
  }
}
