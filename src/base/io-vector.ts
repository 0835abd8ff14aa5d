// QEMUIOVector: a scatter-gather list over one MemoryRegion. It owns no bytes, so drivers read and
// write guest RAM in place. Instances are pooled on the hot path: `reset` points one elsewhere.

import { assert } from './assert.ts';
import { MemoryRegion } from './memory-region.ts';
import { isZero } from './zeroes.ts';

const NO_SPANS = new Uint32Array(0);

export class IOVector {
  #region: MemoryRegion;
  /** Pairs (offset in the region, length in bytes), from `#first` on; perhaps a shared table. */
  #spans: Uint32Array;
  #first: number;
  #count: number;
  #size: number;

  /** `pairs`: offset, length, offset, length … in bytes; every span inside `region`, not empty. */
  constructor(region: MemoryRegion, pairs: ArrayLike<number> = NO_SPANS) {
    assert(pairs.length % 2 === 0, 'spans come in pairs');
    const spans = pairs instanceof Uint32Array ? pairs : Uint32Array.from(pairs);
    let size = 0;
    for (let i = 0; i < spans.length; i += 2) {
      const length = spans[i + 1]!;
      assert(length > 0 && spans[i]! + length <= region.length, 'span outside region');
      size += length;
    }
    this.#region = region;
    this.#spans = spans;
    this.#first = 0;
    this.#count = spans.length / 2;
    this.#size = size;
  }

  /** A vector of one span, all of `bytes`. */
  static of(bytes: Uint8Array): IOVector {
    return new IOVector(new MemoryRegion(bytes), bytes.length === 0 ? [] : [0, bytes.length]);
  }

  /**
   * Points this vector at `count` spans of `table`, pairs that start at element `first`, already
   * checked against `region` (the virtqueue does) and `size` bytes in all. Keeps no copy: the
   * owner calls `detach` before it reuses the table.
   */
  reset(
    region: MemoryRegion,
    table: Uint32Array,
    first: number,
    count: number,
    size: number,
  ): void {
    this.#region = region;
    this.#spans = table;
    this.#first = first;
    this.#count = count;
    this.#size = size;
  }

  /** Copies the spans out of a shared table, so that the table may be reused. */
  detach(): void {
    this.#spans = this.#spans.slice(this.#first, this.#first + 2 * this.#count);
    this.#first = 0;
  }

  /** Total bytes over all spans. */
  get size(): number {
    return this.#size;
  }
  /** Number of spans. */
  get count(): number {
    return this.#count;
  }
  get region(): MemoryRegion {
    return this.#region;
  }

  /** Offset of span `i` in the region, bytes. */
  offsetOf(i: number): number {
    return this.#spans[this.#first + 2 * i]!;
  }
  /** Length of span `i`, bytes. */
  lengthOf(i: number): number {
    return this.#spans[this.#first + 2 * i + 1]!;
  }
  /** Span `i` as a view, to hand to a host API at once. */
  segment(i: number): Uint8Array {
    return this.#region.view(this.offsetOf(i), this.lengthOf(i));
  }

  /** The bytes `[offset, offset + bytes)` of this vector as a vector. Shares memory. */
  slice(offset: number, bytes: number): IOVector {
    assert(offset >= 0 && bytes >= 0 && offset + bytes <= this.#size, 'slice outside vector');
    const made = new IOVector(this.#region);
    if (offset === 0 && bytes === this.#size) {
      made.reset(this.#region, this.#spans, this.#first, this.#count, this.#size);
      made.detach();
      return made;
    }
    const pairs: number[] = [];
    let skip = offset;
    let left = bytes;
    for (let i = 0; i < this.#count && left > 0; i++) {
      const length = this.lengthOf(i);
      const take = Math.min(length - skip, left);
      if (take > 0) {
        pairs.push(this.offsetOf(i) + skip, take);
        left -= take;
      }
      skip = Math.max(skip - length, 0);
    }
    const spans = Uint32Array.from(pairs);
    made.reset(this.#region, spans, 0, spans.length / 2, bytes);
    return made;
  }

  /**
   * Copies `bytes` bytes of `source`, from `from` on, to this vector at `to` (qemu_iovec_from_buf).
   * Dropped when the region was revoked.
   */
  copyFrom(source: Uint8Array, from = 0, to = 0, bytes: number = this.#size - to): void {
    assert(from >= 0 && from + bytes <= source.length, 'source too short');
    assert(to >= 0 && to + bytes <= this.#size, 'copy outside vector');
    if (this.#region.revoked) return;
    const target = this.#region.bytes;
    let skip = to;
    let at = from;
    const end = from + bytes;
    for (let i = 0; at < end; i++) {
      const length = this.lengthOf(i);
      const take = Math.min(length - skip, end - at);
      if (take > 0) {
        target.set(source.subarray(at, at + take), this.offsetOf(i) + skip);
        at += take;
      }
      skip = Math.max(skip - length, 0);
    }
  }

  /** Copies `bytes` bytes of this vector, from `from` on, to `target` at `to`. */
  copyTo(target: Uint8Array, to = 0, from = 0, bytes: number = this.#size - from): void {
    assert(to >= 0 && to + bytes <= target.length, 'target too short');
    assert(from >= 0 && from + bytes <= this.#size, 'copy outside vector');
    if (this.#region.revoked) return;
    const source = this.#region.bytes;
    let skip = from;
    let at = to;
    const end = to + bytes;
    for (let i = 0; at < end; i++) {
      const length = this.lengthOf(i);
      const take = Math.min(length - skip, end - at);
      if (take > 0) {
        const start = this.offsetOf(i) + skip;
        target.set(source.subarray(start, start + take), at);
        at += take;
      }
      skip = Math.max(skip - length, 0);
    }
  }

  /** True when every byte is zero; false where the region was revoked. */
  isZero(): boolean {
    if (this.#region.revoked) return false;
    for (let i = 0; i < this.#count; i++) {
      const start = this.offsetOf(i);
      if (!isZero(this.#region.bytes, start, start + this.lengthOf(i))) return false;
    }
    return true;
  }

  /** Sets `bytes` bytes from `from` on to `value` (qemu_iovec_memset). */
  fill(value: number, from = 0, bytes: number = this.#size - from): void {
    assert(from >= 0 && from + bytes <= this.#size, 'fill outside vector');
    if (this.#region.revoked) return;
    let skip = from;
    let left = bytes;
    for (let i = 0; left > 0; i++) {
      const length = this.lengthOf(i);
      const take = Math.min(length - skip, left);
      if (take > 0) {
        const start = this.offsetOf(i) + skip;
        this.#region.bytes.fill(value, start, start + take);
        left -= take;
      }
      skip = Math.max(skip - length, 0);
    }
  }
}
