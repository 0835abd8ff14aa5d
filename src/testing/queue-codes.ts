// All four builds of the WebAssembly queues, for tests that run each: the product has no use for packed
// rings on memory that is not shared.

import { WASM } from '../../wasm/build/packed-unshared.ts';
import { PACKED_SHARED } from '../virtio/packed-code.ts';
import { SPLIT_UNSHARED } from '../virtio/split-unshared-code.ts';
import { SPLIT_SHARED } from '../virtio/wasm-module.ts';
import type { QueueCode } from '../virtio/wasm-module.ts';

export const QUEUE_CODES: readonly QueueCode[] = [
  SPLIT_SHARED,
  SPLIT_UNSHARED,
  PACKED_SHARED,
  { packed: true, shared: false, digits: WASM },
];

/** The build for such rings on such memory. */
export function queueCode(packed: boolean, shared: boolean): QueueCode {
  return QUEUE_CODES.find((code) => code.packed === packed && code.shared === shared)!;
}
