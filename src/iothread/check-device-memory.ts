// What a device in shared memory is added with, looked at before it leaves the page.

import { isShared } from '../base/shared-buffer.ts';
import { BlockError } from '../block/block-error.ts';
import { QUEUE_SCRATCH_BYTES } from '../virtio/wasm-queue.ts';
import type { DeviceOptions } from './control.ts';

/** Queues of one device at most. */
const MAX_QUEUES = 64;

/** The guest's RAM and our scratch must lie in the memory, and not in each other. Throws BlockError('EINVAL'). */
export function checkDeviceMemory(options: DeviceOptions): void {
  const { memory, ramBase, ramBytes, scratch, numQueues } = options;
  const buffer = memory instanceof WebAssembly.Memory ? memory.buffer : undefined;
  if (buffer === undefined || !isShared(buffer)) {
    throw new BlockError('EINVAL', 'deviceAdd: `memory` must be a shared WebAssembly.Memory');
  }
  if (!Number.isInteger(numQueues) || numQueues < 1 || numQueues > MAX_QUEUES) {
    throw new BlockError('EINVAL', `deviceAdd: ${numQueues} queues, not 1 to ${MAX_QUEUES}`);
  }
  const total = buffer.byteLength;
  const scratchEnd = scratch + numQueues * QUEUE_SCRATCH_BYTES;
  const inside = ramBase >= 0 && ramBase + ramBytes <= total && scratch >= 0 && scratchEnd <= total;
  const apart = scratch >= ramBase + ramBytes || scratchEnd <= ramBase;
  if (!inside || !apart) {
    throw new BlockError(
      'EINVAL',
      `deviceAdd: RAM at ${ramBase} of ${ramBytes} bytes and scratch at ${scratch} ` +
        `do not fit into ${total} bytes of memory`,
    );
  }
}
