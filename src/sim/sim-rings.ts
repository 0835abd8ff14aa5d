// The rings that a simulated guest and its device share, one of each kind: split and packed, read by
// TypeScript and by WebAssembly. Made once and used by one world after the other: a guest that starts
// formats its ring anew.

import { DriverQueue } from '../virtio/driver-queue.ts';
import type { DriverQueueOptions } from '../virtio/driver-queue.ts';
import { PackedDriverQueue } from '../virtio/packed-driver-queue.ts';
import type { GuestQueue } from '../virtio/packed-driver-queue.ts';
import { PackedQueue } from '../virtio/packed-queue.ts';
import { PACKED_SHARED } from '../virtio/packed-code.ts';
import { SplitQueue } from '../virtio/split-queue.ts';
import { VirtioBlkDriver } from '../virtio/virtio-blk-driver.ts';
import type { DriverLayout } from '../virtio/virtio-blk-driver.ts';
import type { Virtqueue, VirtqueueConfig } from '../virtio/virtqueue.ts';
import { SPLIT_SHARED, instantiateQueueModule } from '../virtio/wasm-module.ts';
import { QUEUE_SCRATCH_BYTES, WasmQueue } from '../virtio/wasm-queue.ts';

const PAGE = 65536;
const LAYOUT: DriverLayout = VirtioBlkDriver.layout(16, 16);

/** Guest RAM, and the device's side of the ring in it. */
export interface RingKind {
  readonly name: string;
  /** The guest's side. */
  readonly newDriverQueue: (options: DriverQueueOptions) => GuestQueue;
  /** The device's side. */
  readonly ram: Uint8Array;
  readonly layout: DriverLayout;
  readonly newQueue: (config: VirtqueueConfig) => Virtqueue;
}

function ringKind(packed: boolean, wasm: boolean): RingKind {
  const pages = Math.ceil((LAYOUT.ramBytes + QUEUE_SCRATCH_BYTES) / PAGE) + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const ram = new Uint8Array(memory.buffer, 0, LAYOUT.ramBytes);
  const name = `${packed ? 'packed' : 'split'} ${wasm ? 'wasm' : 'TypeScript'}`;
  const newDriverQueue = (options: DriverQueueOptions): GuestQueue =>
    packed ? new PackedDriverQueue(options) : new DriverQueue(options);
  const kind = { name, newDriverQueue, ram, layout: LAYOUT };
  if (!wasm) {
    const Queue = packed ? PackedQueue : SplitQueue;
    return { ...kind, newQueue: (config) => new Queue({ region: ram, config }) };
  }
  const module = instantiateQueueModule(memory, packed ? PACKED_SHARED : SPLIT_SHARED);
  const scratch = Math.ceil(LAYOUT.ramBytes / PAGE) * PAGE;
  const place = { module, ramBase: 0, ramSize: LAYOUT.ramBytes, scratch };
  return { ...kind, newQueue: (config) => new WasmQueue({ ...place, config }) };
}

export const RING_KINDS: readonly RingKind[] = [
  ringKind(false, false),
  ringKind(false, true),
  ringKind(true, false),
  ringKind(true, true),
];
