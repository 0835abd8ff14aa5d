// The compatibility path into v86: a disk behind its own IDE controller, for guests without virtio-blk.
// IDE has one request in flight, no flush that reaches us and no way to report an error, so a write is
// durable before it is answered, and what failed is not answered: the guest's driver times out, resets
// the channel and reports an I/O error, as with a real disk that died.

import { BlockError } from '../block/block-error.ts';
import type { Disk } from '../disk.ts';
import { checkSavedDisk, saveDisk } from './saved-disk.ts';
import type { SavedDisk } from './saved-disk.ts';

/** Bytes of the first sector, which v86 wants at once for the geometry. */
const FIRST_SECTOR = 512;

/** What `hdaBuffer` takes besides the disk. */
export interface HdaBufferOptions {
  /** Told of requests that failed; the guest hears of them by a time-out. */
  readonly onError?: (error: Error) => void;
}

/** A write whose answer is outstanding; later reads see it. */
interface PendingWrite {
  readonly offset: number;
  readonly end: number;
  readonly done: Promise<void>;
}

/** The methods that v86 0.5.462 calls on a disk of its own, and nothing else. */
export class V86HdaBuffer {
  /** Bytes. v86 reads it once, after `onload`. */
  readonly byteLength: number;
  /** Put there by v86; `load` calls it. */
  onload: ((event: { buffer?: ArrayBuffer }) => void) | undefined;
  /** Put there by v86. Never called: the disk is open. */
  onprogress: ((event: ProgressEvent) => void) | undefined;
  readonly #disk: Disk;
  readonly #onError: (error: Error) => void;
  readonly #writes = new Set<PendingWrite>();
  #first: Uint8Array | undefined;
  /** What `prepareState` found; undefined once v86 writes. */
  #version: SavedDisk | undefined;

  constructor(disk: Disk, options: HdaBufferOptions = {}) {
    this.#disk = disk;
    this.byteLength = disk.length;
    this.#onError = options.onError ?? ((): void => {});
  }

  /** v86 asks for the disk; it is open already. */
  load(): void {
    this.onload?.({});
  }

  /** Reads; `fn` is called with the bytes, or never when the disk failed or v86 gave up. */
  get(
    offset: number,
    bytes: number,
    fn: (data: Uint8Array) => void,
    options: { readonly signal?: AbortSignal } = {},
  ): void {
    void this.#read(offset, bytes, options.signal).then(
      (data) => {
        if (options.signal?.aborted !== true) fn(data);
      },
      (error: Error) => this.#failed(error, options.signal),
    );
  }

  /** As `get`; v86 asks for the first sector this way before it looks at the geometry. */
  get_and_cache(offset: number, bytes: number, fn: (data: Uint8Array) => void): void {
    this.get(offset, bytes, (data) => {
      if (offset === 0 && bytes >= FIRST_SECTOR) this.#first = data.slice(0, FIRST_SECTOR);
      fn(data);
    });
  }

  /** The first sector, where it was read before; undefined makes v86 guess. */
  get_from_cache(offset: number, bytes: number): Uint8Array | undefined {
    if (this.#first === undefined || offset + bytes > FIRST_SECTOR) return undefined;
    return this.#first.subarray(offset, offset + bytes);
  }

  /** Writes, and calls `fn` once the bytes are on stable storage. `data` is v86's to reuse at once. */
  set(offset: number, data: Uint8Array, fn: () => void): void {
    this.#version = undefined;
    const done = this.#write(offset, data.slice());
    const write: PendingWrite = { offset, end: offset + data.length, done };
    this.#writes.add(write);
    void done
      .then(fn, (error: Error) => this.#failed(error, undefined))
      .finally(() => this.#writes.delete(write));
  }

  /** The disk as one buffer: not to be had. */
  get_buffer(fn: (buffer?: ArrayBuffer) => void): void {
    fn();
  }

  /**
   * To be awaited before `emulator.save_state()` and `restore_state()`, with the emulator stopped: v86
   * asks for the disk's version in the midst of them, and does not wait. Throws BlockError.
   */
  async prepareState(): Promise<void> {
    await Promise.allSettled([...this.#writes].map((write) => write.done));
    this.#version = await saveDisk(this.#disk);
  }

  /** Goes into v86's saved state: which version of which disk the guest's memory belongs to. */
  get_state(): readonly [serial: string, bytes: number, generation: string] {
    const { serial, length, generation } = this.#prepared('save_state');
    return [serial, length, generation];
  }

  /** Throws BlockError('ESTALE') for a state that was saved with another disk, or another version. */
  set_state(state: readonly [serial: string, bytes: number, generation: string]): void {
    const [serial, length, generation] = state;
    checkSavedDisk({ serial, length, generation }, this.#prepared('restore_state'));
  }

  #prepared(call: string): SavedDisk {
    if (this.#version !== undefined) return this.#version;
    const message = `await hda.prepareState() before emulator.${call}(): v86 does not wait for the disk`;
    throw new BlockError('EAGAIN', message);
  }

  async #read(offset: number, bytes: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const overlapping = [...this.#writes].filter(
      (write) => write.offset < offset + bytes && offset < write.end,
    );
    await Promise.allSettled(overlapping.map((write) => write.done));
    const data = new Uint8Array(bytes);
    await this.#disk.read(offset, data, signal === undefined ? {} : { signal });
    return data;
  }

  async #write(offset: number, data: Uint8Array): Promise<void> {
    // One after the other: a guest that rewrites a sector means the last one to stay.
    await Promise.allSettled([...this.#writes].map((write) => write.done));
    if (this.#first !== undefined && offset < FIRST_SECTOR) this.#first = undefined;
    await this.#disk.write(offset, data);
    await this.#disk.flush();
  }

  #failed(error: Error, signal: AbortSignal | undefined): void {
    if (signal?.aborted !== true) this.#onError(error);
  }
}

/** For `new V86({ hda: hdaBuffer(disk) })`. The disk stays the caller's to close. */
export function hdaBuffer(disk: Disk, options: HdaBufferOptions = {}): V86HdaBuffer {
  return new V86HdaBuffer(disk, options);
}
