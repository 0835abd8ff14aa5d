// The guest's side of a packed virtqueue that carries virtio-blk requests, in memory of our own: what
// `DriverQueue` is to a split one, with the same calls. A request is one ring slot, which names an
// indirect table that its slot of memory keeps. What the device writes is not trusted.

import { assert } from '../base/assert.ts';
import { layoutDriverQueue, SLOT_BYTES, SLOT_STATUS } from './driver-layout.ts';
import type { DriverQueue, DriverQueueOptions, RequestDone } from './driver-queue.ts';
import {
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  RING_EVENT_FLAGS_ENABLE,
  SECTOR_SIZE,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_USED,
  VIRTQ_DESC_F_WRITE,
} from './spec.ts';
import {
  MAX_CHAIN,
  VQ_OK,
  checkConfig,
  needPackedEvent,
  type VirtqueueConfig,
} from './virtqueue.ts';

const PAGE = 4096;
const DESC_WORDS = 4;
const BOTH = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
/** No device writes it, so a request that was never served is not taken for done. */
const NO_STATUS = 0xff;
const TWO_32 = 2 ** 32;

/** What both kinds of queue do for a driver. */
export type GuestQueue = Pick<DriverQueue, keyof DriverQueue>;

/** `DriverQueueOptions.size` need not be a power of two here. */
export class PackedDriverQueue implements GuestQueue {
  readonly size: number;
  readonly maxSegments: number;
  /** How the device finds the ring. */
  readonly config: VirtqueueConfig;

  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;
  readonly #slots: number; // guest address of slot 0
  readonly #slotBytes: number;
  readonly #eventIdx: boolean;
  readonly #ring: number; // in `#words`
  readonly #driverEvent: number; // in `#words`
  readonly #deviceEvent: number;

  readonly #cookies: Int32Array;
  /** Bytes the device may write for a slot in flight; 0 for a free slot. */
  readonly #writable: Float64Array;
  readonly #freeSlots: Uint16Array;
  #free: number;
  #avail = 0; // the ring slot to fill next, and its lap's wrap counter
  #availWrap = 1;
  #used = 0; // the ring slot to reap next, likewise
  #usedWrap = 1;
  // Entered and not published: how many, the first one's ring slot and its flags.
  #entered = 0;
  #first = 0;
  #firstFlags = 0;
  #interrupts = true;
  #eventWritten = -1;
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
    // Event suppression takes the place of the rings, which are longer.
    const layout = layoutDriverQueue(size, maxSegments);
    const avail = offset + layout.avail;
    const used = offset + layout.used;
    this.config = { size, desc: offset, avail, used, eventIdx, indirect: true, packed: true };
    assert(checkConfig(this.config, memory.length) === VQ_OK, 'bad queue size or memory too small');
    assert(offset + layout.bytes <= memory.length, 'memory too small');
    this.#bytes = memory;
    const { buffer, byteOffset, length } = memory;
    this.#words = new Uint32Array(buffer, byteOffset, Math.floor(length / 4));
    this.#halves = new Uint16Array(buffer, byteOffset, Math.floor(length / 2));
    this.#slots = offset + layout.slots;
    this.#slotBytes = layout.slotBytes;
    this.#eventIdx = eventIdx;
    this.#ring = offset / 4;
    this.#driverEvent = avail / 4;
    this.#deviceEvent = used / 4;
    this.#cookies = new Int32Array(size);
    this.#writable = new Float64Array(size);
    this.#freeSlots = new Uint16Array(size);
    this.#free = size;
    memory.fill(0, offset, offset + layout.bytes);
    for (let slot = 0; slot < size; slot++) {
      this.#freeSlots[slot] = size - 1 - slot;
      const header = this.#header(slot);
      this.#describe((header + SLOT_BYTES) / 4, header, SLOT_STATUS, 0);
    }
  }

  #header(slot: number): number {
    return this.#slots + slot * this.#slotBytes;
  }

  #describe(at: number, address: number, length: number, flags: number): void {
    this.#words[at] = address;
    this.#words[at + 1] = 0;
    this.#words[at + 2] = length;
    this.#words[at + 3] = flags << 16;
  }

  /** Requests submitted and not reaped. */
  get inFlight(): number {
    return this.size - this.#free;
  }
  /** Requests that can be submitted now. */
  get free(): number {
    return this.#free;
  }
  /** True when the device wrote nonsense to the ring; nothing more is reaped or taken. */
  get broken(): boolean {
    return this.#broken;
  }

  /** As `DriverQueue.submit`. */
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
    const header = this.#header(slot);
    let at = (header + SLOT_BYTES) / 4 + DESC_WORDS;
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const length = pairs[2 * i + 1]!;
      assert(length > 0, 'an empty segment');
      this.#describe(at, pairs[2 * i]!, length, write);
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
    const header = this.#header(slot);
    const at = (header + SLOT_BYTES) / 4 + DESC_WORDS;
    this.#describe(at, address, length, write);
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
    this.#cookies[slot] = cookie;
    this.#writable[slot] = writable;
    this.#free -= 1;
    this.#fill(slot, header + SLOT_BYTES, 16 * (count + 2));
  }

  /** Writes the next ring slot. The first of a batch gets its flags in `publish`, last of all. */
  #fill(slot: number, table: number, bytes: number): void {
    const at = this.#ring + DESC_WORDS * this.#avail;
    const owner = this.#availWrap === 1 ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
    const flags = VIRTQ_DESC_F_INDIRECT | owner;
    this.#words[at] = table;
    this.#words[at + 1] = 0;
    this.#words[at + 2] = bytes;
    this.#halves[2 * at + 6] = slot;
    if (this.#entered === 0) {
      this.#first = this.#avail;
      this.#firstFlags = flags;
    } else {
      this.#halves[2 * at + 7] = flags;
    }
    this.#entered += 1;
    this.#avail += 1;
    if (this.#avail === this.size) {
      this.#avail = 0;
      this.#availWrap ^= 1;
    }
  }

  /** Shows the device all requests entered since the last call; true when it wants a kick. */
  publish(): boolean {
    const count = this.#entered;
    if (count === 0) return false;
    const at = this.#ring + DESC_WORDS * this.#first;
    Atomics.store(this.#halves, 2 * at + 7, this.#firstFlags);
    this.#entered = 0;
    const event = Atomics.load(this.#words, this.#deviceEvent);
    return needPackedEvent(event, this.#avail, this.#availWrap, count, this.size);
  }

  /** True when `reap` would find something. Reads one half word. */
  hasUsed(): boolean {
    const at = this.#ring + DESC_WORDS * this.#used;
    const flags = Atomics.load(this.#halves, 2 * at + 7) & BOTH;
    return flags === (this.#usedWrap === 1 ? BOTH : 0) && this.inFlight > 0 && !this.#broken;
  }

  /** As `DriverQueue.reap`. */
  reap(onDone: RequestDone): number {
    let count = 0;
    for (;;) {
      if (this.hasUsed()) {
        if (!this.#reapOne(onDone)) break;
        count += 1;
        continue;
      }
      if (this.#broken || !this.#eventIdx || !this.#interrupts) break;
      if (this.#eventWritten === this.#position()) break;
      // The device may have looked at our event before this store, so look once more after it.
      this.#writeEvent(this.#position());
    }
    return count;
  }

  /** False when the device named a request that is not in flight. */
  #reapOne(onDone: RequestDone): boolean {
    const at = this.#ring + DESC_WORDS * this.#used;
    const slot = this.#halves[2 * at + 6]!;
    const length = this.#words[at + 2]!;
    if (slot >= this.size || this.#writable[slot] === 0) {
      this.#broken = true;
      return false;
    }
    const written = Math.min(length, this.#writable[slot]!);
    const status = this.#bytes[this.#header(slot) + SLOT_STATUS]!;
    this.#used += 1;
    if (this.#used === this.size) {
      this.#used = 0;
      this.#usedWrap ^= 1;
    }
    this.#writable[slot] = 0;
    this.#freeSlots[this.#free] = slot;
    this.#free += 1;
    onDone(this.#cookies[slot]!, status, written);
    return true;
  }

  /** Asks for interrupts, then looks once more: true when there is something to reap already. */
  enableInterrupts(): boolean {
    this.#interrupts = true;
    this.#writeEvent(this.#eventIdx ? this.#position() : RING_EVENT_FLAGS_ENABLE << 16);
    return this.hasUsed();
  }

  /** Tells the device that interrupts are not needed; some may come. */
  disableInterrupts(): void {
    this.#interrupts = false;
    this.#writeEvent(RING_EVENT_FLAGS_DISABLE << 16);
  }

  /** Our event suppression that asks for an interrupt once ring slot `#used` is used. */
  #position(): number {
    return this.#used | (this.#usedWrap << 15) | (RING_EVENT_FLAGS_DESC << 16);
  }

  #writeEvent(event: number): void {
    this.#eventWritten = event;
    Atomics.store(this.#words, this.#driverEvent, event);
  }
}
