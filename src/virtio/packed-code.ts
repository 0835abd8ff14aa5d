// The WebAssembly queue for packed rings: apart from the one for split rings, which everybody loads.

import { SHARED_WASM, UNSHARED_WASM } from '../../wasm/build/packed.ts';
import type { QueueCode } from './wasm-module.ts';

/** For `instantiateQueueModule`. */
export const PACKED_CODE: QueueCode = {
  packed: true,
  shared: SHARED_WASM,
  unshared: UNSHARED_WASM,
};
