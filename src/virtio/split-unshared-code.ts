// The WebAssembly queue for split rings on memory that is not shared: stock v86's, and the relay's.

import { WASM } from '../../wasm/build/split-unshared.ts';
import type { QueueCode } from './wasm-module.ts';

/** For `instantiateQueueModule`. */
export const SPLIT_UNSHARED: QueueCode = { packed: false, shared: false, digits: WASM };
