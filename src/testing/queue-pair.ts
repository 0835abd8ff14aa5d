// A driver and a device on one memory, the device's side of each kind that there is.

import { DriverQueue } from '../virtio/driver-queue.ts';
import { PackedDriverQueue, type GuestQueue } from '../virtio/packed-driver-queue.ts';
import { PackedQueue } from '../virtio/packed-queue.ts';
import { SplitQueue } from '../virtio/split-queue.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { instantiateQueueModule } from '../virtio/wasm-module.ts';
import { WasmQueue } from '../virtio/wasm-queue.ts';
import { queueCode } from './queue-codes.ts';

const PAGE = 65_536;
const RAM = 8 * PAGE;

/** Where tests may put data; the driver's rings lie below. */
export const PAIR_DATA: number = 4 * PAGE;
/** The reference, the twin in shared memory, the twin in memory that is not shared; both rings. */
export const PAIR_KINDS: readonly string[] = [
  'TypeScript',
  'wasm',
  'unshared',
  'packed TypeScript',
  'packed wasm',
  'packed unshared',
];

export interface QueuePair {
  readonly driver: GuestQueue;
  readonly queue: Virtqueue;
  /** Guest RAM, half a MiB. */
  readonly ram: Uint8Array;
}

export function makePair(
  kind: string,
  size: number,
  maxSegments: number,
  eventIdx: boolean,
): QueuePair {
  const shared = !kind.endsWith('unshared');
  const memory = new WebAssembly.Memory({ initial: 10, maximum: 10, shared });
  const ram = new Uint8Array(memory.buffer, 0, RAM);
  const options = { memory: ram, offset: 4096, size, maxSegments, eventIdx };
  const packed = kind.startsWith('packed');
  const driver = packed ? new PackedDriverQueue(options) : new DriverQueue(options);
  const { config } = driver;
  if (kind.endsWith('TypeScript')) {
    const queue = packed
      ? new PackedQueue({ region: ram, config })
      : new SplitQueue({ region: ram, config });
    return { driver, queue, ram };
  }
  const module = instantiateQueueModule(memory, queueCode(packed, shared));
  const queue = new WasmQueue({ module, ramBase: 0, ramSize: RAM, scratch: RAM, config });
  return { driver, queue, ram };
}
