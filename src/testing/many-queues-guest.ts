// A guest that drives several virtqueues of one device from this thread, with promises for requests: what
// tests of devices on several IOThreads submit through.

import type { DeviceHandle } from '../iothread/device-handle.ts';
import { DriverQueue } from '../virtio/driver-queue.ts';
import {
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
} from '../virtio/spec.ts';
import { QUEUE_SCRATCH_BYTES } from '../virtio/wasm-queue.ts';

const FEATURES = [
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);
const SIZE = 64;
const RING_BYTES = DriverQueue.bytes(SIZE, 1);
/** Largest request, bytes. */
const SLOT_BYTES = 4096;
const QUEUE_BYTES = RING_BYTES + SIZE * SLOT_BYTES;
const WASM_PAGE = 65536;

/** The memory of such a guest, for `deviceAdd`. */
export function manyQueuesMemory(numQueues: number): {
  memory: WebAssembly.Memory;
  ramBase: number;
  ramBytes: number;
  scratch: number;
  numQueues: number;
} {
  const ramBytes = numQueues * QUEUE_BYTES;
  const pages = Math.ceil((ramBytes + numQueues * QUEUE_SCRATCH_BYTES) / WASM_PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return { memory, ramBase: 0, ramBytes, scratch: ramBytes, numQueues };
}

export class ManyQueuesGuest {
  readonly #handle: DeviceHandle;
  readonly #ram: Uint8Array;
  #queues: DriverQueue[] = [];
  readonly #waiting = new Map<number, (status: number) => void>();
  #free: number[][] = [];

  constructor(handle: DeviceHandle, memory: WebAssembly.Memory) {
    this.#handle = handle;
    this.#ram = new Uint8Array(memory.buffer, 0, handle.channel.numQueues * QUEUE_BYTES);
    handle.onCall(() => this.#reap());
  }

  /** DRIVER_OK, with fresh rings. */
  start(): void {
    const { channel } = this.#handle;
    this.#queues = channel.allQueues.map((q) => {
      const place = { memory: this.#ram, offset: q * QUEUE_BYTES, size: SIZE };
      const queue = new DriverQueue({ ...place, maxSegments: 1, eventIdx: true });
      const { size, desc, avail, used } = queue.config;
      channel.setQueue(q, { size, desc, avail, used, lastAvail: 0, usedIdx: 0 });
      return queue;
    });
    this.#free = this.#queues.map(() => Array.from({ length: SIZE }, (_, slot) => slot));
    channel.start(FEATURES, true);
    for (const q of channel.allQueues) this.#handle.kick(q);
    this.#reap();
  }

  /** Device reset; resolves when no thread touches a buffer any more. */
  async reset(): Promise<void> {
    const { channel } = this.#handle;
    channel.reset();
    for (const q of channel.allQueues) this.#handle.kick(q);
    this.#queues = [];
    this.#waiting.clear();
    while (!channel.settled) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Each answers VIRTIO_BLK_S_*. `q` is the queue. */
  write(q: number, offset: number, data: Uint8Array): Promise<number> {
    return this.#submit(q, VIRTIO_BLK_T_OUT, offset, data.length, data);
  }
  async read(q: number, offset: number, bytes: number): Promise<Uint8Array> {
    const into = new Uint8Array(bytes);
    const status = await this.#submit(q, VIRTIO_BLK_T_IN, offset, bytes, undefined, into);
    if (status !== 0) throw new Error(`read of ${bytes} bytes at ${offset}: status ${status}`);
    return into;
  }
  flush(q: number): Promise<number> {
    return this.#submit(q, VIRTIO_BLK_T_FLUSH, 0, 0);
  }
  /** Makes available what the device cannot parse: it breaks. */
  breakRing(q: number): void {
    const { avail } = this.#queues[q]!.config;
    new DataView(this.#ram.buffer).setUint16(avail + 2, 30_000, true);
    this.#handle.kick(q);
  }

  async #submit(
    q: number,
    type: number,
    offset: number,
    bytes: number,
    data?: Uint8Array,
    into?: Uint8Array,
  ): Promise<number> {
    const queue = this.#queues[q]!;
    const slot = this.#free[q]!.pop();
    if (slot === undefined) throw new Error(`queue ${q} is full`);
    const address = q * QUEUE_BYTES + RING_BYTES + slot * SLOT_BYTES;
    if (data !== undefined) this.#ram.set(data, address);
    const cookie = q * SIZE + slot;
    const status = new Promise<number>((resolve) => this.#waiting.set(cookie, resolve));
    if (bytes > 0) queue.submitOne(type, offset, address, bytes, cookie);
    else queue.submit(type, 0, new Uint32Array(0), 0, cookie);
    if (queue.publish()) this.#handle.kick(q);
    this.#reap();
    const answer = await status;
    into?.set(this.#ram.subarray(address, address + bytes));
    this.#free[q]!.push(slot);
    return answer;
  }

  readonly #done = (cookie: number, status: number): void => {
    const answer = this.#waiting.get(cookie);
    this.#waiting.delete(cookie);
    answer?.(status);
  };

  /** Takes what is done, and waits for more where something is in flight. */
  #reap(): void {
    for (const queue of this.#queues) queue.reap(this.#done);
    if (this.#handle.failed !== undefined) return;
    this.#handle.armCall();
    if (this.#queues.some((queue) => queue.enableInterrupts())) queueMicrotask(() => this.#reap());
  }
}
