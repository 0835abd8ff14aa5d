// The device's side of a split virtqueue in TypeScript: the reference that the WebAssembly queue is
// tested against, and what runs where WebAssembly does not. Guest memory is hostile and may change
// at any moment: each word is read once, checked, and only then used; ring indices go by Atomics.

import { assert } from '../base/assert.ts';
import { MemoryRegion } from '../base/memory-region.ts';
import { ChainParser } from './chain-parser.ts';
import { RequestTables } from './request-tables.ts';
import { VIRTQ_AVAIL_F_NO_INTERRUPT, VIRTQ_USED_F_NO_NOTIFY } from './spec.ts';
import {
  MAX_BATCH,
  MAX_CHAIN,
  REQUEST_WORDS,
  SEGMENT_PAIRS,
  VQ_BAD_AVAIL_IDX,
  VQ_OK,
  VQ_TOO_MANY,
  checkConfig,
  needEvent,
  type Virtqueue,
  type VirtqueueConfig,
} from './virtqueue.ts';

export interface SplitQueueOptions {
  /** Guest RAM; guest-physical address 0 is its first byte, which lies on a multiple of 4. */
  readonly region: MemoryRegion | Uint8Array;
  readonly config: VirtqueueConfig;
}

/** A `Virtqueue` over any memory. Rings that do not fit make it start broken; nothing throws. */
export class SplitQueue implements Virtqueue {
  readonly size: number;
  readonly requests: Uint32Array;
  readonly segments: Uint32Array;

  readonly #bytes: Uint8Array;
  readonly #chains: ChainParser;
  readonly #halves: Uint16Array; // ring indices and flags: atomic
  readonly #words: Uint32Array; // used elements
  readonly #eventIdx: boolean;
  // Where the rings' words are, in `#halves` or `#words`.
  readonly #availFlags: number;
  readonly #availIdx: number;
  readonly #availRing: number;
  readonly #usedEvent: number;
  readonly #usedFlags: number;
  readonly #usedIdxWord: number;
  readonly #usedRing: number;
  readonly #availEvent: number;

  #error: number;
  #lastAvail = 0;
  #shadowAvail = 0;
  #usedIdx = 0;
  #pushed = 0;
  #inFlight = 0;
  #notification = true;
  /** What avail_event holds; -1 when not written yet. */
  #eventWritten = -1;
  /** False until a decision was made from `#usedIdx` on: then the driver is always told. */
  #signalledValid = false;

  constructor({ region, config }: SplitQueueOptions) {
    const bytes = region instanceof MemoryRegion ? region.bytes : region;
    assert(bytes.byteOffset % 4 === 0, 'guest memory is not aligned to words');
    this.#bytes = bytes;
    this.#halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 1);
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
    this.#error = checkConfig(config, bytes.length);
    const tables = new RequestTables(bytes);
    this.#chains = new ChainParser(bytes, config, tables);
    this.requests = tables.requests;
    this.segments = tables.segments;
    this.#eventIdx = config.eventIdx;
    this.size = config.size;
    this.#availFlags = config.avail / 2;
    this.#availIdx = this.#availFlags + 1;
    this.#availRing = this.#availFlags + 2;
    this.#usedEvent = this.#availRing + config.size;
    this.#usedFlags = config.used / 2;
    this.#usedIdxWord = this.#usedFlags + 1;
    this.#usedRing = config.used / 4 + 1;
    this.#availEvent = this.#usedFlags + 2 + 4 * config.size;
  }

  get error(): number {
    return this.#error;
  }
  get inFlight(): number {
    return this.#inFlight;
  }

  hasAvailable(): boolean {
    return this.#error === VQ_OK && Atomics.load(this.#halves, this.#availIdx) !== this.#lastAvail;
  }

  pop(max: number): number {
    const limit = Math.min(max, MAX_BATCH);
    const mask = this.size - 1;
    let top = 0;
    let count = 0;
    while (count < limit && this.#error === VQ_OK) {
      if (this.#shadowAvail === this.#lastAvail && !this.#lookAgain()) break;
      if (top + MAX_CHAIN > SEGMENT_PAIRS) break;
      if (this.#inFlight === this.size) {
        this.#error = VQ_TOO_MANY;
        break;
      }
      const head = this.#halves[this.#availRing + (this.#lastAvail & mask)]!;
      const next = this.#chains.parse(head, count * REQUEST_WORDS, top);
      if (next < 0) {
        this.#error = -next;
        break;
      }
      top = next;
      count += 1;
      this.#lastAvail = (this.#lastAvail + 1) & 0xffff;
      this.#inFlight += 1;
    }
    if (this.#eventIdx && this.#notification && this.#eventWritten !== this.#lastAvail) {
      if (this.#error === VQ_OK) this.#writeAvailEvent(this.#lastAvail);
    }
    return count;
  }

  /** Reads avail.idx; true when there is something to pop. */
  #lookAgain(): boolean {
    for (;;) {
      const shadow = Atomics.load(this.#halves, this.#availIdx);
      const pending = (shadow - this.#lastAvail) & 0xffff;
      if (pending > this.size) {
        this.#error = VQ_BAD_AVAIL_IDX;
        return false;
      }
      this.#shadowAvail = shadow;
      if (pending > 0) return true;
      if (!this.#eventIdx || !this.#notification) return false;
      if (this.#eventWritten === this.#lastAvail) return false;
      // The driver may have looked at avail_event before this store, so look once more after it.
      this.#writeAvailEvent(this.#lastAvail);
    }
  }

  push(head: number, written: number, statusAddr: number, status: number): void {
    assert(this.#pushed < this.#inFlight, 'a chain was pushed twice');
    const slot = (this.#usedIdx + this.#pushed) & (this.size - 1);
    const at = this.#usedRing + 2 * slot;
    this.#bytes[statusAddr] = status;
    this.#words[at] = head;
    this.#words[at + 1] = written;
    this.#pushed += 1;
  }

  flush(): boolean {
    const count = this.#pushed;
    if (count === 0) return false;
    const old = this.#usedIdx;
    const next = (old + count) & 0xffff;
    Atomics.store(this.#halves, this.#usedIdxWord, next);
    this.#usedIdx = next;
    this.#pushed = 0;
    this.#inFlight -= count;
    if (!this.#eventIdx) {
      return (Atomics.load(this.#halves, this.#availFlags) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    }
    // Half the index space at once cannot be told from a step back, so it always interrupts.
    const valid = this.#signalledValid && count < 0x8000;
    this.#signalledValid = true;
    return !valid || needEvent(Atomics.load(this.#halves, this.#usedEvent), next, old);
  }

  enableNotification(): boolean {
    if (this.#error !== VQ_OK) return false;
    this.#notification = true;
    if (this.#eventIdx) this.#writeAvailEvent(this.#lastAvail);
    else Atomics.store(this.#halves, this.#usedFlags, 0);
    return this.hasAvailable();
  }

  disableNotification(): void {
    if (this.#error !== VQ_OK) return;
    this.#notification = false;
    // An event that lies behind the driver's index comes round after 65535 requests only.
    if (this.#eventIdx) this.#writeAvailEvent((this.#lastAvail - 1) & 0xffff);
    else Atomics.store(this.#halves, this.#usedFlags, VIRTQ_USED_F_NO_NOTIFY);
  }

  #writeAvailEvent(event: number): void {
    this.#eventWritten = event;
    Atomics.store(this.#halves, this.#availEvent, event);
  }

  save(): readonly [number, number] {
    assert(this.#inFlight === 0, 'chains are in flight');
    return [this.#lastAvail, this.#usedIdx];
  }

  restore(state: readonly [number, number]): void {
    assert(this.#inFlight === 0, 'chains are in flight');
    this.#lastAvail = state[0] & 0xffff;
    this.#shadowAvail = this.#lastAvail;
    this.#usedIdx = state[1] & 0xffff;
    this.#eventWritten = -1;
    this.#signalledValid = false;
  }
}
