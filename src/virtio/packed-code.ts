// The WebAssembly queue for packed rings: apart from the one for split rings, which everybody loads.

import { WASM } from '../../wasm/build/packed-shared.ts';
import type { QueueCode } from './wasm-module.ts';

/** For `instantiateQueueModule`; on shared memory. */
export const PACKED_SHARED: QueueCode = { packed: true, shared: true, digits: WASM };
