// The device's side of a virtqueue in WebAssembly, twin of `SplitQueue` and of `PackedQueue`: one call
// for a batch of chains, one for a batch of completions. Its state and tables lie in a scratch region
// of ours in the same memory as guest RAM, which this class reads and writes as plain words.

import { assert } from '../base/assert.ts';
import {
  MAX_BATCH,
  REQUEST_WORDS,
  SEGMENT_PAIRS,
  VQ_BAD_INDEX,
  VQ_OK,
  checkConfig,
  type Virtqueue,
  type VirtqueueConfig,
} from './virtqueue.ts';
import type { QueueExports, QueueModule } from './wasm-module.ts';

// As in wasm/layout.ts: words of the state, bytes of the tables.
const STATE_WORDS = 64;
const ERROR = 7;
const LAST_AVAIL = 8;
const USED_IDX = 10;
const IN_FLIGHT = 11;
const REQUESTS = 4 * STATE_WORDS;
const COMPLETIONS = REQUESTS + 4 * REQUEST_WORDS * MAX_BATCH;
const COMPLETION_WORDS = 4;
const MAX_COMPLETIONS = 512;
const SEGMENTS = COMPLETIONS + 4 * COMPLETION_WORDS * MAX_COMPLETIONS;
const FEATURE_EVENT_IDX = 1;
const FEATURE_INDIRECT = 2;
/** Position of a packed ring that was just set up: slot 0, wrap counter 1. */
const PACKED_START = 0x8000;

/** Bytes of scratch that one queue needs, at a multiple of 64: one page. */
export const QUEUE_SCRATCH_BYTES = 65536;

export interface WasmQueueOptions {
  /** From `instantiateQueueModule`, on the memory that holds guest RAM; for rings as `config` says. */
  readonly module: QueueModule;
  /** Where guest-physical address 0 is in the memory, bytes, a multiple of 4. */
  readonly ramBase: number;
  /** Bytes of guest RAM; below 4 GiB. Guest addresses are checked against it alone. */
  readonly ramSize: number;
  /** Where our QUEUE_SCRATCH_BYTES are in the memory; outside guest RAM, owned by this queue. */
  readonly scratch: number;
  readonly config: VirtqueueConfig;
}

/** A `Virtqueue` over a WebAssembly.Memory. Memory that is not shared may grow between calls. */
export class WasmQueue implements Virtqueue {
  readonly size: number;
  readonly #calls: QueueExports;
  readonly #packed: boolean;
  readonly #memory: WebAssembly.Memory;
  readonly #scratch: number;
  #state!: Uint32Array;
  #requests!: Uint32Array;
  #segments!: Uint32Array;
  #completions!: Uint32Array;
  /** Completions in the table, and pushed since the last flush. */
  #tabled = 0;
  #pushed = 0;

  constructor({ module, ramBase, ramSize, scratch, config }: WasmQueueOptions) {
    const end = module.memory.buffer.byteLength;
    assert(ramBase % 4 === 0 && ramBase + ramSize <= end, 'guest RAM is outside the memory');
    assert(scratch % 64 === 0 && scratch + QUEUE_SCRATCH_BYTES <= end, 'scratch is outside memory');
    assert(
      scratch + QUEUE_SCRATCH_BYTES <= ramBase || scratch >= ramBase + ramSize,
      'scratch overlaps guest RAM',
    );
    this.#packed = config.packed === true;
    assert(module.packed === this.#packed, 'the code is for the other kind of ring');
    this.#calls = module.exports;
    this.#memory = module.memory;
    this.#scratch = scratch;
    this.size = config.size;
    this.#calls.init(
      scratch,
      ramBase,
      ramSize,
      config.size,
      config.desc,
      config.avail,
      config.used,
      (config.eventIdx ? FEATURE_EVENT_IDX : 0) | (config.indirect ? FEATURE_INDIRECT : 0),
      checkConfig(config, ramSize),
    );
    if (this.#packed) this.#calls.restore(scratch, PACKED_START, PACKED_START);
    this.#derive();
  }

  /**
   * Makes the views anew. Memory that is not shared detaches its buffer when it grows; views of
   * shared memory stay good, so a view that has lost its length is the sign for both.
   */
  #derive(): void {
    const { buffer } = this.#memory;
    const at = this.#scratch;
    this.#state = new Uint32Array(buffer, at, STATE_WORDS);
    this.#requests = new Uint32Array(buffer, at + REQUESTS, REQUEST_WORDS * MAX_BATCH);
    this.#segments = new Uint32Array(buffer, at + SEGMENTS, 2 * SEGMENT_PAIRS);
    const words = COMPLETION_WORDS * MAX_COMPLETIONS;
    this.#completions = new Uint32Array(buffer, at + COMPLETIONS, words);
  }

  get requests(): Uint32Array {
    if (this.#requests.length === 0) this.#derive();
    return this.#requests;
  }
  get segments(): Uint32Array {
    if (this.#segments.length === 0) this.#derive();
    return this.#segments;
  }
  get error(): number {
    return this.#word(ERROR);
  }
  get inFlight(): number {
    return this.#word(IN_FLIGHT);
  }

  #word(index: number): number {
    if (this.#state.length === 0) this.#derive();
    return this.#state[index]!;
  }

  hasAvailable(): boolean {
    return this.#calls.hasAvailable(this.#scratch) !== 0;
  }

  pop(max: number): number {
    return this.#calls.pop(this.#scratch, max);
  }

  push(head: number, written: number, statusAddr: number, status: number): void {
    // Reading a state word makes the views anew where that is due.
    assert(this.#pushed < this.#word(IN_FLIGHT), 'a chain was pushed twice');
    if (this.#tabled === MAX_COMPLETIONS) {
      this.#calls.fill(this.#scratch, MAX_COMPLETIONS);
      this.#tabled = 0;
    }
    const table = this.#completions;
    const at = this.#tabled * COMPLETION_WORDS;
    table[at] = head;
    table[at + 1] = written;
    table[at + 2] = statusAddr;
    table[at + 3] = status;
    this.#tabled += 1;
    this.#pushed += 1;
  }

  flush(): boolean {
    if (this.#pushed === 0) return false;
    const count = this.#tabled;
    this.#tabled = 0;
    this.#pushed = 0;
    return this.#calls.flush(this.#scratch, count) !== 0;
  }

  enableNotification(): boolean {
    return this.#calls.enableNotification(this.#scratch) !== 0;
  }

  disableNotification(): void {
    this.#calls.disableNotification(this.#scratch);
  }

  save(): readonly [number, number] {
    assert(this.inFlight === 0, 'chains are in flight');
    return [this.#word(LAST_AVAIL), this.#word(USED_IDX)];
  }

  restore(state: readonly [number, number]): void {
    assert(this.inFlight === 0, 'chains are in flight');
    const [avail, used] = state;
    if (this.#packed && ((avail & 0x7fff) >= this.size || (used & 0x7fff) >= this.size)) {
      if (this.error === VQ_OK) this.#state[ERROR] = VQ_BAD_INDEX;
      return;
    }
    this.#calls.restore(this.#scratch, avail, used);
  }
}
