// The WebAssembly queue's code, instantiated on a memory. The module is shipped as hex digits, two
// builds of it: memory that is shared and memory that is not have different types in WebAssembly.

import { SHARED_WASM, UNSHARED_WASM } from '../../wasm/build/virtqueue.ts';
import { isShared } from '../base/shared-buffer.ts';

/** Calls on one kind of ring. `q` is a queue's scratch region; numbers come back signed. */
export interface RingExports {
  hasAvailable(q: number): number;
  pop(q: number, max: number): number;
  fill(q: number, count: number): void;
  flush(q: number, count: number): number;
  enableNotification(q: number): number;
  disableNotification(q: number): void;
}

/** What wasm/index.ts exports: calls on a split ring, calls for both kinds, and on a packed ring. */
export interface QueueExports extends RingExports {
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
  readonly packedHasAvailable: RingExports['hasAvailable'];
  readonly packedPop: RingExports['pop'];
  readonly packedFill: RingExports['fill'];
  readonly packedFlush: RingExports['flush'];
  readonly packedEnableNotification: RingExports['enableNotification'];
  readonly packedDisableNotification: RingExports['disableNotification'];
}

/** The code on one memory; any number of queues share it. */
export interface QueueModule {
  readonly exports: QueueExports;
  /** The calls on a packed ring, by the names of those on a split one. */
  readonly packed: RingExports;
  readonly memory: WebAssembly.Memory;
}

const compiled = new Map<string, WebAssembly.Module>();

/** The bytes of the build for shared or for unshared memory, under 4 KiB. */
export function queueModuleBytes(shared: boolean): Uint8Array<ArrayBuffer> {
  const digits = shared ? SHARED_WASM : UNSHARED_WASM;
  return Uint8Array.from(digits.match(/../g)!, (byte) => parseInt(byte, 16));
}

/**
 * Instantiates the queue's code on `memory`, guest RAM included, of which it touches nothing. Small
 * enough for synchronous compilation on a page's thread; compiled once a thread.
 */
export function instantiateQueueModule(memory: WebAssembly.Memory): QueueModule {
  const shared = isShared(memory.buffer);
  const key = shared ? 'shared' : 'unshared';
  let module = compiled.get(key);
  if (module === undefined) {
    module = new WebAssembly.Module(queueModuleBytes(shared));
    compiled.set(key, module);
  }
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const exports = instance.exports as unknown as QueueExports;
  const packed = {
    hasAvailable: exports.packedHasAvailable,
    pop: exports.packedPop,
    fill: exports.packedFill,
    flush: exports.packedFlush,
    enableNotification: exports.packedEnableNotification,
    disableNotification: exports.packedDisableNotification,
  };
  return { exports, packed, memory };
}
