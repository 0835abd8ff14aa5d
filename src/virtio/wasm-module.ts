// The WebAssembly queues' code, instantiated on a memory. It is shipped as hex digits, two builds of
// it: memory that is shared and memory that is not have different types in WebAssembly.

import { SHARED_WASM, UNSHARED_WASM } from '../../wasm/build/split.ts';
import { isShared } from '../base/shared-buffer.ts';

/** The code of one kind of queue. */
export interface QueueCode {
  /** For packed rings; else for split ones. */
  readonly packed: boolean;
  /** The builds for shared and for unshared memory: hex digits of less than 4 KiB. */
  readonly shared: string;
  readonly unshared: string;
}

/** For split rings. `packed-code.ts` has the other. */
export const SPLIT_CODE: QueueCode = {
  packed: false,
  shared: SHARED_WASM,
  unshared: UNSHARED_WASM,
};

/** What wasm/split.ts and wasm/packed.ts export. `q` is a queue's scratch region; numbers come back signed. */
export interface QueueExports {
  init(
    q: number,
    ramBase: number,
    ramSize: number,
    size: number,
    desc: number,
    avail: number,
    used: number,
    features: number,
    error: number,
  ): void;
  restore(q: number, lastAvail: number, usedIdx: number): void;
  hasAvailable(q: number): number;
  pop(q: number, max: number): number;
  fill(q: number, count: number): void;
  flush(q: number, count: number): number;
  enableNotification(q: number): number;
  disableNotification(q: number): void;
}

/** The code on one memory; any number of queues share it. */
export interface QueueModule {
  readonly packed: boolean;
  readonly exports: QueueExports;
  readonly memory: WebAssembly.Memory;
}

/** By their digits. */
const compiled = new Map<string, WebAssembly.Module>();

/** The bytes of the build for shared or for unshared memory. */
export function queueModuleBytes(code: QueueCode, shared: boolean): Uint8Array<ArrayBuffer> {
  const digits = shared ? code.shared : code.unshared;
  return Uint8Array.from(digits.match(/../g)!, (byte) => parseInt(byte, 16));
}

/**
 * Instantiates a queue's code on `memory`, guest RAM included, of which it touches nothing. Small
 * enough for synchronous compilation on a page's thread; compiled once a thread.
 */
export function instantiateQueueModule(
  memory: WebAssembly.Memory,
  code: QueueCode = SPLIT_CODE,
): QueueModule {
  const shared = isShared(memory.buffer);
  const digits = shared ? code.shared : code.unshared;
  let module = compiled.get(digits);
  if (module === undefined) {
    module = new WebAssembly.Module(queueModuleBytes(code, shared));
    compiled.set(digits, module);
  }
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  return { packed: code.packed, exports: instance.exports as unknown as QueueExports, memory };
}
