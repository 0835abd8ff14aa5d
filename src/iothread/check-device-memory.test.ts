// What is refused before a device reaches its IOThread, and why.

import { expect, it } from 'vitest';
import { QUEUE_SCRATCH_BYTES } from '../virtio/wasm-queue.ts';
import { checkDeviceMemory } from './check-device-memory.ts';
import type { DeviceOptions } from './control.ts';

const PAGE = 65536;
const memory = new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true });
const good: DeviceOptions = {
  id: 'vda',
  drive: 'disk',
  memory,
  ramBase: 0,
  ramBytes: 3 * PAGE,
  scratch: 3 * PAGE,
  numQueues: 1,
};

it('takes RAM and scratch that lie beside each other in shared memory', () => {
  expect(() => checkDeviceMemory(good)).not.toThrow();
  const before = { ...good, scratch: 0, ramBase: QUEUE_SCRATCH_BYTES };
  expect(() => checkDeviceMemory(before)).not.toThrow();
});

it.each([
  ['memory of one thread', { memory: new WebAssembly.Memory({ initial: 4 }) }, 'shared'],
  ['no memory', { memory: undefined as unknown as WebAssembly.Memory }, 'shared'],
  ['no queue', { numQueues: 0 }, '0 queues'],
  ['more queues than there can be', { numQueues: 65 }, '65 queues'],
  ['scratch in RAM', { scratch: 2 * PAGE }, 'do not fit'],
  ['scratch that ends beyond the memory', { numQueues: 2 }, 'do not fit'],
  ['RAM that ends beyond the memory', { ramBytes: 5 * PAGE, scratch: 0 }, 'do not fit'],
  ['RAM before the memory', { ramBase: -1 }, 'do not fit'],
])('refuses %s', (_, change, message) => {
  expect(() => checkDeviceMemory({ ...good, ...change })).toThrow(message);
});
