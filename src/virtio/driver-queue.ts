// The guest's side of a split virtqueue that carries virtio-blk requests, in memory of our own. Each
// ring entry owns a header, a status byte and an indirect table, all formatted once, so a queue of N
// entries holds N requests and a request costs a few stores. What the device writes is not trusted.

import { assert } from '../base/assert.ts';
import { layoutDriverQueue, SLOT_BYTES, SLOT_STATUS } from './driver-layout.ts';
import {
  SECTOR_SIZE,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from './spec.ts';
import { MAX_CHAIN, VQ_OK, checkConfig, needEvent, type VirtqueueConfig } from './virtqueue.ts';

const PAGE = 4096;
const DESC_WORDS = 4;
/** No device writes it, so a request that was never served is not taken for done. */
const NO_STATUS = 0xff;
const TWO_32 = 2 ** 32;

export interface DriverQueueOptions {
  /** What the device sees as guest RAM; guest address 0 is its first byte. */
  readonly memory: Uint8Array;
  /** Where the queue's `DriverQueue.bytes` are in it; a multiple of 4096. */
  readonly offset: number;
  /** Entries; a power of two, 1..32768. */
  readonly size: number;
  /** Data segments in one request at most; 1022 at most. */
  readonly maxSegments: number;
  readonly eventIdx: boolean;
}

/** One request done: its cookie, VIRTIO_BLK_S_*, and bytes written, with the status byte. */
export type RequestDone = (cookie: number, status: number, written: number) => void;

export class DriverQueue {
  readonly size: number;
  readonly maxSegments: number;
  /** How the device finds the rings. */
  readonly config: VirtqueueConfig;

  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;
  readonly #slots: number; // guest address of slot 0
  readonly #slotBytes: number;
  readonly #mask: number;
  readonly #eventIdx: boolean;
  // Where the rings' words are, in `#halves` or `#words`.
  readonly #descriptors: number;
  readonly #availFlags: number;
  readonly #availRing: number;
  readonly #usedEvent: number;
  readonly #usedFlags: number;
  readonly #usedRing: number;
  readonly #availEvent: number;

  readonly #cookies: Int32Array;
  /** Bytes the device may write for a slot in flight; 0 for a free slot. */
  readonly #writable: Float64Array;
  readonly #freeSlots: Uint16Array;
  #free: number;
  #availIdx = 0;
  #published = 0;
  #lastUsed = 0;
  #interrupts = true;
  #eventWritten = 0;
  #broken = false;

  /** Bytes that a queue takes, a multiple of 4096. */
  static bytes(size: number, maxSegments: number): number {
    return layoutDriverQueue(size, maxSegments).bytes;
  }

  constructor({ memory, offset, size, maxSegments, eventIdx }: DriverQueueOptions) {
    assert(offset % PAGE === 0 && memory.byteOffset % 4 === 0, 'a queue starts at a page');
    assert(maxSegments >= 1 && maxSegments + 2 <= MAX_CHAIN, 'too many segments');
    this.size = size;
    this.maxSegments = maxSegments;
    const layout = layoutDriverQueue(size, maxSegments);
    const avail = offset + layout.avail;
    const used = offset + layout.used;
    this.config = { size, desc: offset, avail, used, eventIdx, indirect: true };
    assert(checkConfig(this.config, memory.length) === VQ_OK, 'bad queue size or memory too small');
    assert(offset + layout.bytes <= memory.length, 'memory too small');
    this.#bytes = memory;
    const { buffer, byteOffset, length } = memory;
    this.#words = new Uint32Array(buffer, byteOffset, Math.floor(length / 4));
    this.#halves = new Uint16Array(buffer, byteOffset, Math.floor(length / 2));
    this.#slots = offset + layout.slots;
    this.#slotBytes = layout.slotBytes;
    this.#mask = size - 1;
    this.#eventIdx = eventIdx;
    this.#descriptors = offset / 4;
    this.#availFlags = avail / 2;
    this.#availRing = this.#availFlags + 2;
    this.#usedEvent = this.#availRing + size;
    this.#usedFlags = used / 2;
    this.#usedRing = used / 4 + 1;
    this.#availEvent = this.#usedFlags + 2 + 4 * size;
    this.#cookies = new Int32Array(size);
    this.#writable = new Float64Array(size);
    this.#freeSlots = new Uint16Array(size);
    this.#free = size;
    memory.fill(0, offset, offset + layout.bytes);
    for (let slot = 0; slot < size; slot++) this.#format(slot);
  }

  /** Writes what of slot and ring entry `slot` never changes. */
  #format(slot: number): void {
    this.#freeSlots[slot] = this.size - 1 - slot;
    const header = this.#slots + slot * this.#slotBytes;
    const table = header + SLOT_BYTES;
    this.#describe(this.#descriptors + slot * DESC_WORDS, table, 0, VIRTQ_DESC_F_INDIRECT);
    this.#describe(table / 4, header, SLOT_STATUS, VIRTQ_DESC_F_NEXT | (1 << 16));
  }

  #describe(at: number, address: number, length: number, tail: number): void {
    this.#words[at] = address;
    this.#words[at + 1] = 0;
    this.#words[at + 2] = length;
    this.#words[at + 3] = tail;
  }

  /** Requests submitted and not reaped. */
  get inFlight(): number {
    return this.size - this.#free;
  }
  /** Requests that can be submitted now. */
  get free(): number {
    return this.#free;
  }
  /** True when the device wrote nonsense to the used ring; nothing more is reaped or taken. */
  get broken(): boolean {
    return this.#broken;
  }

  /**
   * Enters a request, unseen until `publish`. `offset`: bytes, whole sectors; `pairs`: `count`
   * pairs (guest address, length in bytes), copied; `cookie`: 32 bits, signed, handed to `reap`.
   * Data flow to the device where `type` is odd (OUT, DISCARD, WRITE_ZEROES), from it otherwise.
   * Answers the slot, or -1 when the queue is full or broken.
   */
  submit(
    type: number,
    offset: number,
    pairs: ArrayLike<number>,
    count: number,
    cookie: number,
  ): number {
    assert(count <= this.maxSegments, 'too many segments');
    if (this.#free === 0 || this.#broken) return -1;
    const slot = this.#freeSlots[this.#free - 1]!;
    const write = (type & 1) === 0 ? VIRTQ_DESC_F_WRITE : 0;
    const header = this.#slots + slot * this.#slotBytes;
    let at = (header + SLOT_BYTES) / 4 + DESC_WORDS;
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const length = pairs[2 * i + 1]!;
      assert(length > 0, 'an empty segment');
      this.#describe(at, pairs[2 * i]!, length, VIRTQ_DESC_F_NEXT | write | ((i + 2) << 16));
      bytes += length;
      at += DESC_WORDS;
    }
    this.#describe(at, header + SLOT_STATUS, 1, VIRTQ_DESC_F_WRITE);
    this.#enter(slot, header, type, offset, count, cookie, write === 0 ? 1 : bytes + 1);
    return slot;
  }

  /** As `submit` with one segment. */
  submitOne(type: number, offset: number, address: number, length: number, cookie: number): number {
    assert(length > 0, 'an empty segment');
    if (this.#free === 0 || this.#broken) return -1;
    const slot = this.#freeSlots[this.#free - 1]!;
    const write = (type & 1) === 0 ? VIRTQ_DESC_F_WRITE : 0;
    const header = this.#slots + slot * this.#slotBytes;
    const at = (header + SLOT_BYTES) / 4 + DESC_WORDS;
    this.#describe(at, address, length, VIRTQ_DESC_F_NEXT | write | (2 << 16));
    this.#describe(at + DESC_WORDS, header + SLOT_STATUS, 1, VIRTQ_DESC_F_WRITE);
    this.#enter(slot, header, type, offset, 1, cookie, write === 0 ? 1 : length + 1);
    return slot;
  }

  #enter(
    slot: number,
    header: number,
    type: number,
    offset: number,
    count: number,
    cookie: number,
    writable: number,
  ): void {
    const sector = offset / SECTOR_SIZE;
    assert(sector >= 0 && sector === Math.floor(sector), 'offset is not a sector');
    const words = this.#words;
    words[header / 4] = type;
    words[header / 4 + 1] = 0;
    words[header / 4 + 2] = sector % TWO_32;
    // A sector beyond 64 bits stays beyond any disk.
    words[header / 4 + 3] = sector < TWO_32 ? 0 : Math.min(sector / TWO_32, TWO_32 - 1);
    this.#bytes[header + SLOT_STATUS] = NO_STATUS;
    words[this.#descriptors + slot * DESC_WORDS + 2] = 16 * (count + 2);
    this.#cookies[slot] = cookie;
    this.#writable[slot] = writable;
    this.#free -= 1;
    this.#halves[this.#availRing + (this.#availIdx & this.#mask)] = slot;
    this.#availIdx = (this.#availIdx + 1) & 0xffff;
  }

  /** Shows the device all requests entered since the last call; true when it wants a kick. */
  publish(): boolean {
    const old = this.#published;
    const next = this.#availIdx;
    if (old === next) return false;
    Atomics.store(this.#halves, this.#availFlags + 1, next);
    this.#published = next;
    if (this.#eventIdx) return needEvent(Atomics.load(this.#halves, this.#availEvent), next, old);
    return (Atomics.load(this.#halves, this.#usedFlags) & VIRTQ_USED_F_NO_NOTIFY) === 0;
  }

  /** True when `reap` would find something. Reads one word. */
  hasUsed(): boolean {
    return Atomics.load(this.#halves, this.#usedFlags + 1) !== this.#lastUsed && !this.#broken;
  }

  /**
   * Takes all completions, out of order as they come, and answers how many. `onDone` may submit
   * again. While interrupts are on, none is missed between this call and the next interrupt.
   */
  reap(onDone: RequestDone): number {
    let count = 0;
    while (!this.#broken) {
      const used = Atomics.load(this.#halves, this.#usedFlags + 1);
      const pending = (used - this.#lastUsed) & 0xffff;
      if (pending === 0) {
        if (!this.#eventIdx || !this.#interrupts || this.#eventWritten === this.#lastUsed) break;
        // The device may have looked at used_event before this store, so look once more after it.
        this.#writeUsedEvent(this.#lastUsed);
        continue;
      }
      if (pending > this.inFlight) {
        this.#broken = true;
        break;
      }
      for (let i = 0; i < pending && this.#reapOne(onDone); i++) count += 1;
    }
    return count;
  }

  /** False when the device named a request that is not in flight. */
  #reapOne(onDone: RequestDone): boolean {
    const at = this.#usedRing + 2 * (this.#lastUsed & this.#mask);
    const slot = this.#words[at]!;
    const length = this.#words[at + 1]!;
    if (slot >= this.size || this.#writable[slot] === 0) {
      this.#broken = true;
      return false;
    }
    const written = Math.min(length, this.#writable[slot]!);
    const status = this.#bytes[this.#slots + slot * this.#slotBytes + SLOT_STATUS]!;
    this.#lastUsed = (this.#lastUsed + 1) & 0xffff;
    this.#writable[slot] = 0;
    this.#freeSlots[this.#free] = slot;
    this.#free += 1;
    onDone(this.#cookies[slot]!, status, written);
    return true;
  }

  /** Asks for interrupts, then looks once more: true when there is something to reap already. */
  enableInterrupts(): boolean {
    this.#interrupts = true;
    if (this.#eventIdx) this.#writeUsedEvent(this.#lastUsed);
    else Atomics.store(this.#halves, this.#availFlags, 0);
    return this.hasUsed();
  }

  /** Tells the device that interrupts are not needed; some may come. */
  disableInterrupts(): void {
    this.#interrupts = false;
    // An event behind the device's index comes round after 65535 completions only.
    if (this.#eventIdx) this.#writeUsedEvent((this.#lastUsed - 1) & 0xffff);
    else Atomics.store(this.#halves, this.#availFlags, VIRTQ_AVAIL_F_NO_INTERRUPT);
  }

  #writeUsedEvent(event: number): void {
    this.#eventWritten = event;
    Atomics.store(this.#halves, this.#usedEvent, event);
  }
}
