// Runs an unmodified v86 on shared WebAssembly memory, so that IOThreads reach guest RAM without a
// copy. Two patches on bytes: the memory that v86.wasm defines becomes shared, and so does the one
// that each module of v86's JIT compiler imports. Where a patch does not fit, v86 runs unpatched.

import { BlockError } from '../block/block-error.ts';
import { patchImportedMemory, patchMemorySection } from './wasm-memory-patch.ts';

/** v86's JIT puts function `index` at this place of its table. */
const JIT_TABLE_OFFSET = 1024;
const DEFAULT_MAX_PAGES = 16384;

/** The bytes of v86.wasm, or what `fetch` answers for its URL. */
export type WasmSource = BufferSource | Pick<Response, 'arrayBuffer'>;

/** What `sharedMemoryV86` is made of. */
export interface SharedMemoryOptions {
  /** The contents of v86.wasm, such as `fetch('/v86.wasm')`. An answer is read once: one for each emulator. */
  readonly wasm: WasmSource | Promise<WasmSource>;
  /**
   * Limit of the emulator's memory, pages of 64 KiB; default 16384 (1 GiB). Guest RAM, video
   * memory and about 10 MiB must fit. Costs address space only.
   */
  readonly maxPages?: number;
}

/** Spread it into v86's options: `new V86({ ...sharedMemoryV86({ wasm }), … })`. */
export interface SharedMemoryV86 {
  /** v86's option of that name: compiles and starts v86.wasm. */
  readonly wasm_fn: (imports: WebAssembly.Imports) => Promise<WebAssembly.Exports>;
  /** For you, not for v86: filled while it loads and runs. */
  readonly sharedMemoryStats: SharedMemoryStats;
}

/** Whether the memory is shared, and what became of the JIT's modules. */
export interface SharedMemoryStats {
  /** Whether the emulator's memory is shared; undefined before it is loaded. */
  shared: boolean | undefined;
  /** Why it is not, or the first failure of a JIT module. */
  reason: string | undefined;
  /** Modules of the JIT that were patched and run. */
  jitModules: number;
  /** Modules lost: their code runs interpreted. Anything but 0 is a bug here. */
  jitFailures: number;
}

interface V86Exports {
  readonly memory: WebAssembly.Memory;
  codegen_finalize_finished(index: number, start: number, flags: number): void;
}

const unshared = new WeakMap<WebAssembly.Memory, string>();

/** Why `memory`, made by `sharedMemoryV86`, is not shared; undefined for any other memory. */
export function whyUnshared(memory: WebAssembly.Memory): string | undefined {
  return unshared.get(memory);
}

/**
 * Options that let a v86 run on shared memory, which IOThreads read and write in place. Where that cannot
 * be - the page is not cross-origin isolated, the patch does not fit this v86.wasm - it runs as it is, and
 * `sharedMemoryStats.reason` says why. `wasm_fn` rejects when the wasm cannot be had.
 */
export function sharedMemoryV86(options: SharedMemoryOptions): SharedMemoryV86 {
  const maxPages = options.maxPages ?? DEFAULT_MAX_PAGES;
  const stats: SharedMemoryStats = {
    shared: undefined,
    reason: undefined,
    jitModules: 0,
    jitFailures: 0,
  };
  const load = async (imports: WebAssembly.Imports): Promise<WebAssembly.Exports> => {
    const bytes = await sourceBytes(await options.wasm);
    const env = imports['env']!;
    const original = env['codegen_finalize'];
    try {
      if (typeof SharedArrayBuffer === 'undefined') {
        throw new BlockError('ENOTSUP', 'the page is not cross-origin isolated');
      }
      const patched = patchMemorySection(bytes, maxPages);
      const finalize = new JitPatcher(env['__indirect_function_table'], maxPages, stats);
      env['codegen_finalize'] = finalize.onFinalize;
      const { instance } = await WebAssembly.instantiate(patched, imports);
      finalize.ready(instance.exports as unknown as V86Exports);
      stats.shared = true;
      return instance.exports;
    } catch (error) {
      // A disk that is copied to and from beats a machine that does not start.
      stats.shared = false;
      stats.reason = error instanceof Error ? error.message : String(error);
      env['codegen_finalize'] = original!;
      const { instance } = await WebAssembly.instantiate(bytes, imports);
      unshared.set((instance.exports as unknown as V86Exports).memory, stats.reason);
      return instance.exports;
    }
  };
  return { wasm_fn: load, sharedMemoryStats: stats };
}

async function sourceBytes(source: WasmSource): Promise<Uint8Array<ArrayBuffer>> {
  if ('arrayBuffer' in source) {
    const { ok, status } = source as { ok?: boolean; status?: number };
    if (ok === false) throw new BlockError('EIO', `v86.wasm: HTTP status ${status}`);
    return new Uint8Array(await source.arrayBuffer());
  }
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
}

/** Stands in for v86's `codegen_finalize`, which instantiates a module that the JIT has written. */
class JitPatcher {
  readonly #table: WebAssembly.Table;
  readonly #maxPages: number;
  readonly #stats: SharedMemoryStats;
  #exports: V86Exports | undefined;
  #imports: WebAssembly.Imports = {};

  constructor(table: unknown, maxPages: number, stats: SharedMemoryStats) {
    if (!(table instanceof WebAssembly.Table)) {
      throw new BlockError('ENOTSUP', 'this v86 hands out no function table');
    }
    this.#table = table;
    this.#maxPages = maxPages;
    this.#stats = stats;
  }

  /** The modules import v86's own exports under 'e', its memory under the name 'm'. */
  ready(exports: V86Exports): void {
    if (!(exports.memory.buffer instanceof SharedArrayBuffer)) {
      throw new BlockError('ENOTSUP', 'the patched memory is not shared');
    }
    this.#exports = exports;
    this.#imports = { e: { ...exports, m: exports.memory } };
  }

  readonly onFinalize = (
    index: number,
    start: number,
    flags: number,
    address: number,
    length: number,
  ): void => {
    void this.#finalize(index, start, flags, address >>> 0, length >>> 0).catch(
      (error: unknown) => {
        this.#stats.jitFailures += 1;
        this.#stats.reason ??= error instanceof Error ? error.message : String(error);
      },
    );
  };

  async #finalize(
    index: number,
    start: number,
    flags: number,
    address: number,
    length: number,
  ): Promise<void> {
    const exports = this.#exports!;
    // The JIT reuses its buffer: the copy is made before the first await.
    const code = patchImportedMemory(
      new Uint8Array(exports.memory.buffer, address, length),
      this.#maxPages,
    );
    const { instance } = await WebAssembly.instantiate(code, this.#imports);
    this.#table.set(index + JIT_TABLE_OFFSET, instance.exports['f']);
    exports.codegen_finalize_finished(index, start, flags);
    this.#stats.jitModules += 1;
  }
}
