// A virtual disk, for embedders: promises and exceptions here, errnos inside. Every request goes
// through a virtqueue in shared memory to the IOThread that holds the disk's graph, as an emulator's
// requests do; there is no second path.

import { BlockError } from './block/block-error.ts';
import type { CheckResult } from './block/block-driver.ts';
import type { Host, WorkerSource } from './host/host.ts';
import type {
  BackingPolicy,
  BlockNodeInfo,
  BlockNodeStats,
  BlockdevOptions,
  IOThreadEvent,
} from './iothread/control.ts';
import { connectDriver } from './iothread/connect-driver.ts';
import type { DeviceHandle } from './iothread/device-handle.ts';
import { IOThread } from './iothread/iothread.ts';
import type { IOThreadOptions } from './iothread/iothread.ts';
import { DiskRequests } from './disk-requests.ts';
import { SECTOR_SIZE, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES } from './virtio/spec.ts';

/** How a disk is opened. Its `WorkerSource` is for the thread that is started where none is given. */
export interface OpenDiskOptions extends WorkerSource {
  /** Where its graph runs. Default: a thread of its own, which ends with the disk. */
  readonly thread?: IOThread;
  readonly readOnly?: boolean;
  /** Which backing files named *inside* images may be followed. Default: none. */
  readonly policy?: BackingPolicy;
  /** Answer to the guest's GET_ID, at most 20 ASCII characters. */
  readonly serial?: string;
  /** Called with what happens by itself: notices, I/O errors, a lost thread. */
  readonly onEvent?: (event: IOThreadEvent) => void;
  readonly signal?: AbortSignal;
}

/** What `Disk.stats` answers. */
export interface DiskStats {
  readonly nodes: readonly BlockNodeInfo[];
  readonly counts: readonly BlockNodeStats[];
}

/** Options that one request takes. */
export interface RequestOptions {
  readonly signal?: AbortSignal;
}

/** How an emulator's adapter adds a device of its own; see `DeviceOptions`. */
export interface AttachOptions {
  readonly id?: string;
  readonly memory: WebAssembly.Memory;
  readonly ramBase: number;
  readonly ramBytes: number;
  readonly scratch: number;
  readonly numQueues: number;
}

/** What `options` says about an IOThread of its own. */
export function threadOptions(
  options: WorkerSource & { readonly signal?: AbortSignal },
): IOThreadOptions {
  const { workerUrl, createWorker, signal } = options;
  return {
    ...(workerUrl === undefined ? {} : { workerUrl }),
    ...(createWorker === undefined ? {} : { createWorker }),
    ...(signal === undefined ? {} : { signal }),
  };
}

const QUEUE_SIZE = 128;
const POOL_PAGES = 64;

export class Disk implements AsyncDisposable {
  /** Node name of the graph's root. */
  readonly rootNode: string;
  readonly readOnly: boolean;
  readonly serial: string;
  /** How requests reach the IOThread: `'shared'` is a virtqueue in shared memory. */
  readonly transport: 'shared' = 'shared' as const;
  readonly #requests: DiskRequests;
  readonly #onEvent: ((event: IOThreadEvent) => void) | undefined;
  #thread: IOThread;
  #ownsThread: boolean;
  #stopEvents: () => void;
  /** The last move; control calls wait for it. */
  #moving: Promise<unknown> = Promise.resolve();
  #devices = 0;
  #closing: Promise<void> | undefined;

  /** Use `openDisk`. */
  static async open(
    host: Host,
    what: string | BlockdevOptions,
    options: OpenDiskOptions = {},
  ): Promise<Disk> {
    const thread =
      options.thread ?? (await IOThread.start(host, { ...threadOptions(options), id: 'disk' }));
    const stopEvents = options.onEvent === undefined ? () => {} : thread.onEvent(options.onEvent);
    try {
      const extra = {
        ...(options.policy === undefined ? {} : { policy: options.policy }),
        ...(options.readOnly === undefined ? {} : { readOnly: options.readOnly }),
      };
      const root = await thread.blockdevAdd(what, extra, options.signal);
      try {
        return await Disk.#connect(thread, root, options, stopEvents);
      } catch (error) {
        await thread.blockdevDel(root).catch(() => {});
        throw error;
      }
    } catch (error) {
      stopEvents();
      if (options.thread === undefined) await thread.close().catch(() => {});
      throw error;
    }
  }

  static async #connect(
    thread: IOThread,
    root: string,
    options: OpenDiskOptions,
    stopEvents: () => void,
  ): Promise<Disk> {
    const nodes = await thread.queryBlock();
    const readOnly = nodes.find((node) => node.nodeName === root)?.readOnly === true;
    const serial = options.serial ?? root.replace(/^#/, '').slice(0, 20);
    const id = `disk:${root}`;
    const { driver, device } = await connectDriver(thread, {
      id,
      drive: root,
      queueSize: QUEUE_SIZE,
      poolPages: POOL_PAGES,
      serial,
    });
    const requests = new DiskRequests(driver, device, root);
    return new Disk(thread, root, readOnly, serial, requests, {
      ownsThread: options.thread === undefined,
      onEvent: options.onEvent,
      stopEvents,
    });
  }

  private constructor(
    thread: IOThread,
    rootNode: string,
    readOnly: boolean,
    serial: string,
    requests: DiskRequests,
    life: {
      readonly ownsThread: boolean;
      readonly onEvent: ((event: IOThreadEvent) => void) | undefined;
      readonly stopEvents: () => void;
    },
  ) {
    this.#thread = thread;
    this.rootNode = rootNode;
    this.readOnly = readOnly;
    this.serial = serial;
    this.#requests = requests;
    this.#ownsThread = life.ownsThread;
    this.#onEvent = life.onEvent;
    this.#stopEvents = life.stopEvents;
  }

  /** Where the disk's graph runs. Changes with `moveTo`. */
  get thread(): IOThread {
    return this.#thread;
  }

  /** Bytes. Changes with `resize`. */
  get length(): number {
    return this.#requests.length;
  }

  /**
   * Reads `into.length` bytes at `offset`, any byte range. Rejects with BlockError; when aborted,
   * with `signal.reason`, and `into` is then not written any more.
   */
  async read(offset: number, into: Uint8Array, options: RequestOptions = {}): Promise<void> {
    this.#check('read', offset, into.length);
    await this.#requests.read(offset, into, options.signal);
  }

  /**
   * Writes `from` at `offset`, any byte range. Resolves when the disk has taken the bytes; `flush`
   * makes them durable, and so does `fua` for this write. `from` must not change until then.
   */
  async write(
    offset: number,
    from: Uint8Array,
    options: RequestOptions & { readonly fua?: boolean } = {},
  ): Promise<void> {
    this.#checkWrite('write', offset, from.length);
    await this.#requests.write(offset, from, options.signal);
    if (options.fua === true) await this.flush(options);
  }

  /** Makes `[offset, offset + bytes)` read as zeroes. Whole sectors of 512 bytes. */
  async writeZeroes(offset: number, bytes: number, options: RequestOptions = {}): Promise<void> {
    this.#checkSectors('writeZeroes', offset, bytes);
    await this.#requests.range(VIRTIO_BLK_T_WRITE_ZEROES, offset, bytes, options.signal);
  }

  /** Says that the bytes are not needed: they may read as anything. Whole sectors. */
  async discard(offset: number, bytes: number, options: RequestOptions = {}): Promise<void> {
    this.#checkSectors('discard', offset, bytes);
    await this.#requests.range(VIRTIO_BLK_T_DISCARD, offset, bytes, options.signal);
  }

  /** Resolves when everything written before is on stable storage. */
  async flush(options: RequestOptions = {}): Promise<void> {
    await this.#requests.flush(options.signal);
  }

  /** Changes the disk's length, a multiple of 512. Guests are told by a config interrupt. */
  async resize(length: number): Promise<void> {
    await this.#moving;
    await this.thread.blockResize(this.rootNode, length);
  }

  /** Checks the image's metadata and repairs what `fix` says. Formats only (ENOTSUP else). */
  async check(fix: 'none' | 'leaks' | 'all' = 'none'): Promise<CheckResult> {
    await this.#moving;
    return this.thread.blockCheck(this.rootNode, fix);
  }

  /**
   * Which version of its contents the disk has: opaque, at most 64 ASCII characters; what a saved state
   * of a machine goes with. The same version means the same bytes. Flushes; the first change afterwards
   * gives the disk another one, on storage too and before the change gets there. qcow2 (version 3) and
   * `idb` keep it from one opening to the next, and so does what is read-only and has an ETag or a date;
   * any other disk has one that lasts while it is open.
   */
  generation(options: RequestOptions = {}): Promise<string> {
    return this.thread.blockGeneration(this.rootNode, options.signal);
  }

  /** The graph and its running counts. */
  async stats(): Promise<DiskStats> {
    await this.#moving;
    const [nodes, counts] = await Promise.all([
      this.thread.queryBlock(),
      this.thread.queryBlockstats(),
    ]);
    return { nodes, counts };
  }

  /**
   * Streams the bytes of one node, by default of the file that holds the root image (the overlay
   * file of a qcow2 disk). Flushes first; do not write to the disk meanwhile. `onProgress` hears of
   * bytes done and in all.
   */
  async *exportNode(
    options: RequestOptions & {
      readonly nodeName?: string;
      readonly onProgress?: (progress: { done: number; total: number }) => void;
    } = {},
  ): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    await this.#moving;
    await this.thread.blockFlush(this.rootNode);
    const nodes = await this.thread.queryBlock();
    const root = nodes.find((node) => node.nodeName === this.rootNode);
    const name =
      options.nodeName ??
      root?.children.find((child) => child.role === 'file')?.nodeName ??
      this.rootNode;
    const node = nodes.find((candidate) => candidate.nodeName === name);
    if (node === undefined) throw new BlockError('ENOENT', `no node is named '${name}'`);
    for (let done = 0; done < node.length;) {
      options.signal?.throwIfAborted();
      const bytes = Math.min(EXPORT_CHUNK, node.length - done);
      const chunk = await this.thread.readNode(name, done, bytes);
      done += bytes;
      yield chunk as Uint8Array<ArrayBuffer>;
      options.onProgress?.({ done, total: node.length });
    }
  }

  /**
   * Moves the disk to another IOThread while it is in use, its devices and everything that shares a
   * node with it included: requests wait meanwhile, and none fails. A thread that the disk had to
   * itself ends afterwards. Resolves with how long the disk stood still, milliseconds. Rejects with
   * BlockError, and the disk then works on where it was (see `IOThread.blockdevMove`).
   */
  moveTo(thread: IOThread, options: RequestOptions = {}): Promise<number> {
    const move = this.#moving.then(() => this.#moveTo(thread, options.signal));
    this.#moving = move.catch(() => {});
    return move;
  }

  async #moveTo(thread: IOThread, signal: AbortSignal | undefined): Promise<number> {
    this.#check('moveTo', 0, 0);
    signal?.throwIfAborted();
    const from = this.#thread;
    if (thread === from) return 0;
    const pauseNs = await from.blockdevMove(this.rootNode, thread, signal);
    this.#thread = thread;
    this.#stopEvents();
    if (this.#onEvent !== undefined) this.#stopEvents = thread.onEvent(this.#onEvent);
    if (this.#ownsThread) await from.close();
    this.#ownsThread = false;
    return pauseNs / 1e6;
  }

  /** For adapters: adds a virtio-blk device that the disk's IOThread serves. */
  async attachDevice(options: AttachOptions): Promise<DeviceHandle> {
    await this.#moving;
    this.#devices += 1;
    const { id = `${this.rootNode}:device${this.#devices}`, ...rest } = options;
    const { serial, readOnly } = this;
    return this.thread.deviceAdd({ id, drive: this.rootNode, serial, readOnly, ...rest });
  }

  /** Flushes, closes the graph, and ends the thread if the disk owns it. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#moving;
    try {
      if (this.thread.failed === undefined) {
        if (!this.readOnly) await this.flush();
        await this.#requests.close();
        if (!this.#ownsThread) await this.thread.blockdevDel(this.rootNode);
      }
    } finally {
      if (this.#ownsThread) await this.thread.close();
      this.#stopEvents();
    }
  }

  #check(what: string, offset: number, bytes: number): void {
    if (this.#closing !== undefined) {
      throw new BlockError('ENODEV', `${what}: the disk '${this.rootNode}' is closed`);
    }
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + bytes > this.length) {
      const range = `${bytes} bytes at ${offset}`;
      throw new BlockError(
        'EINVAL',
        `${what}: ${range} is outside the disk '${this.rootNode}' of ${this.length} bytes`,
        { node: this.rootNode },
      );
    }
  }

  #checkWrite(what: string, offset: number, bytes: number): void {
    this.#check(what, offset, bytes);
    if (this.readOnly) {
      throw new BlockError('EROFS', `${what}: the disk '${this.rootNode}' is read-only`, {
        node: this.rootNode,
      });
    }
  }

  #checkSectors(what: string, offset: number, bytes: number): void {
    this.#checkWrite(what, offset, bytes);
    if (offset % SECTOR_SIZE !== 0 || bytes % SECTOR_SIZE !== 0) {
      throw new BlockError('EINVAL', `${what}: ${bytes} bytes at ${offset} are not whole sectors`);
    }
  }
}

const EXPORT_CHUNK = 1024 * 1024;
