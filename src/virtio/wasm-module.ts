// The WebAssembly queues' code, instantiated on a memory. It is shipped as hex digits, in four builds:
// for split and for packed rings, on shared memory and on memory that is not, which have different types
// in WebAssembly. What everybody needs is here; `split-unshared-code.ts` and `packed-code.ts` are apart.

import { WASM } from '../../wasm/build/split-shared.ts';

/** The code of one kind of queue on one kind of memory. */
export interface QueueCode {
  /** For packed rings; else for split ones. */
  readonly packed: boolean;
  /** For shared memory; else for memory that is not. */
  readonly shared: boolean;
  /** The module, less than 4 KiB, in hex. */
  readonly digits: string;
}

/** For split rings on shared memory. */
export const SPLIT_SHARED: QueueCode = { packed: false, shared: true, digits: WASM };

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

/** What was compiled, by its digits, and where it was instantiated. */
const compiled = new Map<
  string,
  { module: WebAssembly.Module; instances: WeakMap<WebAssembly.Memory, QueueModule> }
>();

/** The module's bytes. */
export function queueModuleBytes({ digits }: QueueCode): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(digits.match(/../g)!, (byte) => parseInt(byte, 16));
}

/**
 * Instantiates a queue's code on `memory`, guest RAM included, of which it touches nothing. Small
 * enough for synchronous compilation on a page's thread; compiled once a thread, instantiated once a
 * memory. Throws LinkError for memory of the kind that `code` is not for.
 */
export function instantiateQueueModule(
  memory: WebAssembly.Memory,
  code: QueueCode = SPLIT_SHARED,
): QueueModule {
  const { digits, packed } = code;
  let built = compiled.get(digits);
  if (built === undefined) {
    built = { module: new WebAssembly.Module(queueModuleBytes(code)), instances: new WeakMap() };
    compiled.set(digits, built);
  }
  let ready = built.instances.get(memory);
  if (ready === undefined) {
    const { exports } = new WebAssembly.Instance(built.module, { env: { memory } });
    ready = { packed, exports: exports as unknown as QueueExports, memory };
    built.instances.set(memory, ready);
  }
  return ready;
}
