// The TypeScript and the WebAssembly queue side by side on equal guests: every call goes to both, and
// every answer, table and byte of guest memory must be the same. Canaries lie around guest RAM.

import { PackedQueue } from '../virtio/packed-queue.ts';
import { SplitQueue } from '../virtio/split-queue.ts';
import type { QueueModule } from '../virtio/wasm-module.ts';
import { instantiateQueueModule } from '../virtio/wasm-module.ts';
import { QUEUE_SCRATCH_BYTES, WasmQueue } from '../virtio/wasm-queue.ts';
import {
  REQ_IN_BYTES,
  REQ_IN_COUNT,
  REQUEST_WORDS,
  type Virtqueue,
  type VirtqueueConfig,
} from '../virtio/virtqueue.ts';
import { queueCode } from './queue-codes.ts';

const PAGE = 65536;
const CANARY = 0xc5;
const GAP = 64;

export class QueueTwins {
  /** Guest RAM, for tests to write; `sync` shows it to both queues. */
  readonly ram: Uint8Array;
  /** Set by `start`. */
  ts!: Virtqueue;
  wasm!: WasmQueue;
  readonly #around: Uint8Array;
  readonly #twin: Uint8Array;
  readonly #memory: Uint8Array;
  readonly #scratch: number;
  readonly #modules: Readonly<Record<'split' | 'packed', QueueModule>>;

  /** `ramSize`: bytes; not a multiple of anything, so that the end is tested. */
  constructor(ramSize: number, shared: boolean) {
    this.#around = new Uint8Array(new SharedArrayBuffer(ramSize + 2 * GAP)).fill(CANARY);
    this.ram = this.#around.subarray(GAP, GAP + ramSize).fill(0);
    this.#scratch = Math.ceil((ramSize + 2 * GAP) / PAGE) * PAGE;
    const pages = (this.#scratch + QUEUE_SCRATCH_BYTES) / PAGE + 1;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
    this.#memory = new Uint8Array(memory.buffer).fill(CANARY);
    this.#modules = {
      split: instantiateQueueModule(memory, queueCode(false, shared)),
      packed: instantiateQueueModule(memory, queueCode(true, shared)),
    };
    this.#twin = this.#memory.subarray(GAP, GAP + ramSize);
  }

  /** New queues on RAM as it is. */
  start(config: VirtqueueConfig): void {
    this.sync();
    const { ram: region } = this;
    this.ts =
      config.packed === true
        ? new PackedQueue({ region, config })
        : new SplitQueue({ region, config });
    this.wasm = new WasmQueue({
      module: this.#modules[config.packed === true ? 'packed' : 'split'],
      ramBase: GAP,
      ramSize: region.length,
      scratch: this.#scratch,
      config,
    });
  }

  sync(): void {
    this.#twin.set(this.ram);
  }

  pop(max: number): number {
    const count = this.#same('pop', this.ts.pop(max), this.wasm.pop(max));
    this.#same('error', this.ts.error, this.wasm.error);
    this.#same('inFlight', this.ts.inFlight, this.wasm.inFlight);
    let pairs = 0;
    for (let i = 0; i < count * REQUEST_WORDS; i++) {
      const word = i % REQUEST_WORDS;
      if (word > REQ_IN_BYTES) continue; // not used
      this.#same(`requests[${i}]`, this.ts.requests[i], this.wasm.requests[i]);
      if (word === REQ_IN_COUNT) pairs = this.ts.requests[i - 1]! + this.ts.requests[i]!;
    }
    for (let i = 0; i < 2 * pairs; i++) {
      this.#same(`segments[${i}]`, this.ts.segments[i], this.wasm.segments[i]);
    }
    return count;
  }

  push(head: number, written: number, statusAddr: number, status: number): void {
    this.ts.push(head, written, statusAddr, status);
    this.wasm.push(head, written, statusAddr, status);
  }

  flush(): boolean {
    return this.#same('flush', this.ts.flush(), this.wasm.flush());
  }

  hasAvailable(): boolean {
    return this.#same('hasAvailable', this.ts.hasAvailable(), this.wasm.hasAvailable());
  }

  enableNotification(): boolean {
    return this.#same('enable', this.ts.enableNotification(), this.wasm.enableNotification());
  }

  disableNotification(): void {
    this.ts.disableNotification();
    this.wasm.disableNotification();
  }

  restore(state: readonly [number, number]): void {
    this.ts.restore(state);
    this.wasm.restore(state);
  }

  /** Guest RAM is the same for both, and `expected` where given. */
  compareRam(expected: Uint8Array = this.ram): void {
    if (Buffer.compare(this.ram, this.#twin) === 0 && Buffer.compare(this.ram, expected) === 0) {
      return;
    }
    for (let i = 0; i < this.ram.length; i++) {
      this.#same(`ram[${i}], wasm`, this.ram[i], this.#twin[i]);
      this.#same(`ram[${i}], expected`, this.ram[i], expected[i]);
    }
  }

  /** Nothing outside guest RAM and scratch was written. Reads all memory: now and then only. */
  checkCanaries(): void {
    const end = this.#scratch + QUEUE_SCRATCH_BYTES;
    const parts = [
      this.#around.subarray(0, GAP),
      this.#around.subarray(GAP + this.ram.length),
      this.#memory.subarray(0, GAP),
      this.#memory.subarray(GAP + this.ram.length, this.#scratch),
      this.#memory.subarray(end),
    ];
    if (parts.some((part) => part.some((byte) => byte !== CANARY))) throw new Error('canary hit');
  }

  #same<T>(what: string, ts: T, wasm: unknown): T {
    if (ts !== wasm) throw new Error(`${what}: TypeScript ${String(ts)}, other ${String(wasm)}`);
    return ts;
  }
}
