// A driver and a device on one memory, the device's side of each kind that there is.

import { DriverQueue } from '../virtio/driver-queue.ts';
import { SplitQueue } from '../virtio/split-queue.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { instantiateQueueModule } from '../virtio/wasm-module.ts';
import { WasmQueue } from '../virtio/wasm-queue.ts';

const PAGE = 65_536;
const RAM = 8 * PAGE;

/** Where tests may put data; the driver's rings lie below. */
export const PAIR_DATA: number = 4 * PAGE;
/** The reference, the twin in shared memory, the twin in memory that is not shared. */
export const PAIR_KINDS: readonly string[] = ['TypeScript', 'wasm', 'unshared'];

export interface QueuePair {
  readonly driver: DriverQueue;
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
  const memory = new WebAssembly.Memory({ initial: 10, maximum: 10, shared: kind !== 'unshared' });
  const ram = new Uint8Array(memory.buffer, 0, RAM);
  const driver = new DriverQueue({ memory: ram, offset: 4096, size, maxSegments, eventIdx });
  const { config } = driver;
  if (kind === 'TypeScript') return { driver, queue: new SplitQueue({ region: ram, config }), ram };
  const module = instantiateQueueModule(memory);
  const queue = new WasmQueue({ module, ramBase: 0, ramSize: RAM, scratch: RAM, config });
  return { driver, queue, ram };
}
