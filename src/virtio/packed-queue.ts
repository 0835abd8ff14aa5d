// The device's side of a packed virtqueue (virtio 1.2, 2.8) in TypeScript: the reference that the
// WebAssembly queue is tested against. One ring holds what is available and what is used; two flag
// bits and a wrap counter tell which. Of a batch the first used entry is made visible last.

import { assert } from '../base/assert.ts';
import { MemoryRegion } from '../base/memory-region.ts';
import { PackedChainParser } from './packed-chain-parser.ts';
import { RequestTables } from './request-tables.ts';
import {
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  RING_EVENT_FLAGS_ENABLE,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_USED,
  VIRTQ_DESC_F_WRITE,
} from './spec.ts';
import type { SplitQueueOptions } from './split-queue.ts';
import {
  MAX_BATCH,
  MAX_CHAIN,
  REQUEST_WORDS,
  SEGMENT_PAIRS,
  VQ_BAD_INDEX,
  VQ_OK,
  VQ_TOO_MANY,
  checkConfig,
  needPackedEvent,
  type Virtqueue,
} from './virtqueue.ts';

const BOTH = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
const DESC_HALVES = 8;
/** The flags of a descriptor, in halves from its start. */
const FLAGS = 7;

/** A `Virtqueue` over any memory. Rings that do not fit make it start broken; nothing throws. */
export class PackedQueue implements Virtqueue {
  readonly size: number;
  readonly requests: Uint32Array;
  readonly segments: Uint32Array;

  readonly #bytes: Uint8Array;
  readonly #chains: PackedChainParser;
  readonly #halves: Uint16Array; // flags of descriptors: atomic where they say whose it is
  readonly #words: Uint32Array; // event suppression, atomic; used entries
  readonly #eventIdx: boolean;
  readonly #ring: number; // guest address
  // Where event suppression lies, in `#words`.
  readonly #driverEvent: number;
  readonly #deviceEvent: number;

  #error: number;
  #avail = 0; // the slot to look at next, and its lap's wrap counter
  #availWrap = 1;
  #used = 0; // the slot of the next used entry that is not published, likewise
  #usedWrap = 1;
  #slotsInUse = 0;
  #inFlight = 0;
  // Completions that are not published: how many, up to which slot, and the first one's flags.
  #pushed = 0;
  #pushedSlots = 0;
  #next = 0;
  #nextWrap = 1;
  #firstFlags = 0;
  #notification = true;
  /** What the device's event suppression holds; -1 when not written yet. */
  #eventWritten = -1;
  /** False until a decision was made from `#used` on: then the driver is always told. */
  #signalledValid = false;

  constructor({ region, config }: SplitQueueOptions) {
    const bytes = region instanceof MemoryRegion ? region.bytes : region;
    assert(bytes.byteOffset % 4 === 0, 'guest memory is not aligned to words');
    this.#bytes = bytes;
    this.#halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 1);
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
    this.#error = checkConfig(config, bytes.length);
    const tables = new RequestTables(bytes);
    this.#chains = new PackedChainParser(bytes, config, tables);
    this.requests = tables.requests;
    this.segments = tables.segments;
    this.#eventIdx = config.eventIdx;
    this.size = config.size;
    this.#ring = config.desc;
    this.#driverEvent = config.avail / 4;
    this.#deviceEvent = config.used / 4;
  }

  get error(): number {
    return this.#error;
  }
  get inFlight(): number {
    return this.#inFlight;
  }

  hasAvailable(): boolean {
    return this.#error === VQ_OK && this.#isAvailable(this.#loadFlags());
  }

  #loadFlags(): number {
    return Atomics.load(this.#halves, this.#ring / 2 + this.#avail * DESC_HALVES + FLAGS);
  }

  /** The AVAIL bit is the lap's wrap counter, and the USED bit is not (2.8.1). */
  #isAvailable(flags: number): boolean {
    return (flags & BOTH) === (this.#availWrap === 1 ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED);
  }

  pop(max: number): number {
    const limit = Math.min(max, MAX_BATCH);
    let top = 0;
    let count = 0;
    while (count < limit && this.#error === VQ_OK) {
      const flags = this.#loadFlags();
      if (!this.#isAvailable(flags)) {
        if (!this.#followsEvent()) break;
        // The driver may have looked at our event before this store, so look once more after it.
        this.#writeEvent(this.#position());
        continue;
      }
      if (top + MAX_CHAIN > SEGMENT_PAIRS) break;
      const free = this.size - this.#slotsInUse;
      if (free === 0) {
        this.#error = VQ_TOO_MANY;
        break;
      }
      const next = this.#chains.parse(this.#avail, flags, free, count * REQUEST_WORDS, top);
      if (next < 0) {
        this.#error = -next;
        break;
      }
      top = next;
      count += 1;
      this.#inFlight += 1;
      this.#slotsInUse += this.#chains.slots;
      this.#avail += this.#chains.slots;
      if (this.#avail >= this.size) {
        this.#avail -= this.size;
        this.#availWrap ^= 1;
      }
    }
    if (this.#followsEvent() && this.#error === VQ_OK) this.#writeEvent(this.#position());
    return count;
  }

  /** Our event suppression that asks for a kick once `#avail` is filled. */
  #position(): number {
    return this.#avail | (this.#availWrap << 15) | (RING_EVENT_FLAGS_DESC << 16);
  }

  /** True when our event suppression ought to name `#avail` and does not. */
  #followsEvent(): boolean {
    return this.#eventIdx && this.#notification && this.#eventWritten !== this.#position();
  }

  push(head: number, written: number, statusAddr: number, status: number): void {
    assert(this.#pushed < this.#inFlight, 'a chain was pushed twice');
    const slots = head >>> 16;
    assert(this.#pushedSlots + slots <= this.#slotsInUse, 'a chain was pushed twice');
    const at = this.#ring + 16 * this.#next;
    this.#bytes[statusAddr] = status;
    this.#words[at / 4 + 2] = written;
    this.#halves[at / 2 + 6] = head & 0xffff;
    // WRITE: the length counts (2.8.8).
    const flags = (this.#nextWrap === 1 ? BOTH : 0) | (written > 0 ? VIRTQ_DESC_F_WRITE : 0);
    if (this.#pushed === 0) this.#firstFlags = flags;
    else this.#halves[at / 2 + FLAGS] = flags;
    this.#pushed += 1;
    this.#pushedSlots += slots;
    this.#next += slots;
    if (this.#next >= this.size) {
      this.#next -= this.size;
      this.#nextWrap ^= 1;
    }
  }

  flush(): boolean {
    if (this.#pushed === 0) return false;
    const count = this.#pushedSlots;
    const first = this.#ring / 2 + this.#used * DESC_HALVES;
    Atomics.store(this.#halves, first + FLAGS, this.#firstFlags);
    this.#used = this.#next;
    this.#usedWrap = this.#nextWrap;
    this.#inFlight -= this.#pushed;
    this.#slotsInUse -= count;
    this.#pushed = 0;
    this.#pushedSlots = 0;
    const event = Atomics.load(this.#words, this.#driverEvent);
    const told = needPackedEvent(event, this.#used, this.#usedWrap, count, this.size);
    const disabled = ((event >>> 16) & 3) === RING_EVENT_FLAGS_DISABLE;
    const valid = this.#signalledValid && this.#eventIdx;
    this.#signalledValid = true;
    // Without EVENT_IDX, or at first, no slot that the driver names counts.
    return told || (!valid && !disabled);
  }

  enableNotification(): boolean {
    if (this.#error !== VQ_OK) return false;
    this.#notification = true;
    this.#writeEvent(this.#eventIdx ? this.#position() : RING_EVENT_FLAGS_ENABLE << 16);
    return this.hasAvailable();
  }

  disableNotification(): void {
    if (this.#error !== VQ_OK) return;
    this.#notification = false;
    this.#writeEvent(RING_EVENT_FLAGS_DISABLE << 16);
  }

  #writeEvent(event: number): void {
    this.#eventWritten = event;
    Atomics.store(this.#words, this.#deviceEvent, event);
  }

  save(): readonly [number, number] {
    assert(this.#inFlight === 0, 'chains are in flight');
    return [this.#avail | (this.#availWrap << 15), this.#used | (this.#usedWrap << 15)];
  }

  /** A slot outside the ring breaks the queue: the state is not one of this queue. */
  restore(state: readonly [number, number]): void {
    assert(this.#inFlight === 0, 'chains are in flight');
    const [avail, used] = state;
    if ((avail & 0x7fff) >= this.size || (used & 0x7fff) >= this.size) {
      if (this.#error === VQ_OK) this.#error = VQ_BAD_INDEX;
      return;
    }
    this.#avail = avail & 0x7fff;
    this.#availWrap = (avail >>> 15) & 1;
    this.#used = used & 0x7fff;
    this.#usedWrap = (used >>> 15) & 1;
    this.#next = this.#used;
    this.#nextWrap = this.#usedWrap;
    this.#eventWritten = -1;
    this.#signalledValid = false;
  }
}
