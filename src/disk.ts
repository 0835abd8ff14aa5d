// A virtual disk, for embedders: promises and exceptions here, errnos inside. Every request goes
// through a virtqueue into the IOThread that holds the disk's graph, as an emulator's requests do;
// there is no second path.

import { parseCacheMode } from './block/cache-mode.ts';
import { BlockError } from './block/block-error.ts';
import type { CheckResult } from './block/block-driver.ts';
import type { JobOptions } from './block/jobs/job.ts';
import { exportNode, exportStream, iterateStream } from './disk-export.ts';
import { DiskJobs } from './disk-jobs.ts';
import type { StartedJob } from './disk-jobs.ts';
import { threadOptions } from './disk-options.ts';
import type {
  AttachOptions,
  DiskStats,
  ExportNodeOptions,
  ExportOptions,
  MapOptions,
  OpenDiskOptions,
  RequestOptions,
  WriteOptions,
} from './disk-options.ts';
import type { PageHost } from './host/host.ts';
import type { BlockdevOptions, IOThreadEvent, MapEntry, OpenedNode } from './iothread/control.ts';
import type { ExportReader } from './iothread/export-reader.ts';
import type { DeviceHandle } from './iothread/device-handle.ts';
import { IOThread } from './iothread/iothread.ts';
import type { ThreadTransport } from './iothread/thread-transport.ts';
import { DiskDevices } from './disk-devices.ts';
import { checkInside, checkWholeSectors, checkWritable } from './disk-range.ts';
import { reopenRoot } from './disk-reopen.ts';
import type { DiskRequests } from './disk-requests.ts';
import { connectOwnDevice } from './disk-own-device.ts';
import { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES } from './virtio/spec.ts';

/**
 * A virtual disk: an open graph of nodes in an IOThread, and what can be done with it. Made by `openDisk`.
 * Offsets and lengths are bytes. Calls reject with BlockError: EINVAL outside the disk, EROFS where it is
 * read-only, ENODEV once it is closed or its thread is gone, else what the storage said.
 */
export class Disk implements AsyncDisposable {
  /** Node name of the graph's root. */
  readonly rootNode: string;
  /** What a guest is told as the disk's name (GET_ID); at most 20 ASCII characters. */
  readonly serial: string;
  /** Off: each write of the guest is durable before it completes, unless the guest turns its cache on. */
  readonly enableWriteCache: boolean;
  readonly #requests: DiskRequests;
  readonly #onEvent: ((event: IOThreadEvent) => void) | undefined;
  #readOnly: boolean;
  #thread: IOThread;
  #ownsThread: boolean;
  #stopEvents: () => void;
  /** The last move; control calls wait for it. */
  #moving: Promise<unknown> = Promise.resolve();
  readonly #jobs = new DiskJobs();
  readonly #attached: DiskDevices;
  #closing: Promise<void> | undefined;

  /** @internal Use `openDisk`. */
  static async open(
    host: PageHost,
    what: string | BlockdevOptions,
    options: OpenDiskOptions = {},
  ): Promise<Disk> {
    const { enableWriteCache, ...cache } = parseCacheMode(options.cache ?? 'writeback');
    const thread =
      options.thread ?? (await IOThread.start(host, { ...threadOptions(options), id: 'disk' }));
    const stopEvents = options.onEvent === undefined ? () => {} : thread.onEvent(options.onEvent);
    try {
      const { policy, readOnly, signal } = options;
      const root = await thread.blockdevOpen(what, { policy, readOnly, cache }, signal);
      try {
        return await Disk.#connect(thread, root, enableWriteCache, options, stopEvents);
      } catch (error) {
        await thread.blockdevDel(root.nodeName).catch(() => {});
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
    { nodeName: root, readOnly }: OpenedNode,
    enableWriteCache: boolean,
    options: OpenDiskOptions,
    stopEvents: () => void,
  ): Promise<Disk> {
    const serial = options.serial ?? root.replace(/^#/, '').slice(0, 20);
    const facts = { readOnly, serial, enableWriteCache };
    const requests = await connectOwnDevice(thread, root, serial, enableWriteCache);
    return new Disk(thread, root, requests, facts, options, stopEvents);
  }

  private constructor(
    thread: IOThread,
    rootNode: string,
    requests: DiskRequests,
    facts: Pick<Disk, 'readOnly' | 'serial' | 'enableWriteCache'>,
    { thread: given, onEvent }: OpenDiskOptions,
    stopEvents: () => void,
  ) {
    this.#thread = thread;
    this.rootNode = rootNode;
    this.#readOnly = requests.readOnly = facts.readOnly;
    this.serial = facts.serial;
    this.enableWriteCache = facts.enableWriteCache;
    this.#requests = requests;
    this.#ownsThread = given === undefined;
    this.#onEvent = onEvent;
    this.#attached = new DiskDevices(onEvent);
    this.#stopEvents = stopEvents;
  }

  /** Opened or reopened so, or made of something that cannot be written: writes are EROFS. */
  get readOnly(): boolean {
    return this.#readOnly;
  }

  /** Where the disk's graph runs. Changes with `moveTo`. */
  get thread(): IOThread {
    return this.#thread;
  }

  /**
   * How requests reach the IOThread: through a virtqueue in shared memory, or as messages where the
   * page is not cross-origin isolated.
   */
  get transport(): ThreadTransport {
    return this.thread.transport;
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
  async write(offset: number, from: Uint8Array, options: WriteOptions = {}): Promise<void> {
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

  /**
   * Changes the disk's length, a multiple of 512. Guests are told by a config interrupt. An abort ends
   * the waiting only: a resize under way is carried out.
   */
  async resize(length: number, options: RequestOptions = {}): Promise<void> {
    await this.#moving;
    await this.#attached.resize(this.thread, this.rootNode, length, options);
    await this.#requests.sync(options.signal);
  }

  /**
   * Checks the image's metadata and repairs what `fix` says. Formats only (ENOTSUP else). Requests wait
   * meanwhile. An abort ends it between two steps, the image none the worse.
   */
  check(
    fix: 'none' | 'leaks' | 'all' = 'none',
    options: RequestOptions = {},
  ): Promise<CheckResult> {
    return this.#job(options, (job) => this.thread.jobs.check(this.rootNode, fix, job));
  }

  /**
   * Which version of its contents the disk has: opaque, at most 64 ASCII characters; what a saved state
   * of a machine goes with. The same version means the same bytes. Flushes; the first change afterwards
   * gives the disk another one, on storage too and before the change gets there. qcow2 (version 3) and
   * `idb` keep it from one opening to the next, and so does what is read-only and has an ETag or a date;
   * any other disk has one that lasts while it is open, also when it moves.
   */
  async generation(options: RequestOptions = {}): Promise<string> {
    await this.#moving;
    return this.thread.blockGeneration(this.rootNode, options.signal);
  }

  /** The graph and its running counts. */
  async stats(options: RequestOptions = {}): Promise<DiskStats> {
    await this.#moving;
    const [nodes, counts] = await Promise.all([
      this.thread.queryBlock(options.signal),
      this.thread.queryBlockstats(options.signal),
    ]);
    return { nodes, counts };
  }

  /**
   * Reopens the root image, and what it alone uses, with other options: `{ 'read-only': true }` and back,
   * `cache`, `backing: null` … (`IOThread.blockdevReopen`). All of it or nothing; requests wait meanwhile. A
   * guest that writes to what is read-only gets I/O errors. One opened read-only stays so for its devices.
   */
  async reopen(options: BlockdevOptions): Promise<void> {
    await this.#moving;
    const readOnly = await reopenRoot(this.thread, this.rootNode, options);
    this.#readOnly = readOnly || this.#requests.readOnly;
  }

  /**
   * Throws away all that was written to an overlay: the disk is its backing image again, and the
   * overlay's file small. Durable, and all or nothing, also at a power cut. The disk stays open at
   * its length, devices stay attached and their requests wait; but a guest that runs would find
   * another disk under it, so shut it down first. ENOTSUP where the root image has no backing image.
   */
  reset(options: RequestOptions = {}): Promise<void> {
    return this.#job(options, ({ signal }) => this.thread.jobs.reset(this.rootNode, { signal }));
  }

  /**
   * Puts what an overlay holds into its backing image, opened for writing meanwhile, and empties the overlay.
   * Requests wait. Reads answer the same, also after an error, an abort or a power cut on the way. ENOTSUP where
   * the root image has no backing image, EROFS where that cannot be written to (`http`: use `convertTo`), EBUSY
   * where somebody else uses it, such as another overlay.
   */
  commit(options: JobOptions = {}): Promise<void> {
    return this.#job(options, (job) => this.thread.jobs.commit(this.rootNode, job));
  }

  /**
   * Which layer holds what, from `offset` (0) for `bytes` (to the end), in order, alike neighbours
   * joined: `qemu-img map`. At most 65536 entries: where there would be more, runs shorter than a unit
   * (64 KiB, doubled until it is enough) are told together with what follows them, as data if any of
   * it is, as zero if all of it is.
   */
  map(options: MapOptions = {}): Promise<readonly MapEntry[]> {
    const { offset = 0, bytes } = options;
    return this.#job(options, (job) => this.thread.jobs.map(this.rootNode, offset, bytes, job));
  }

  /**
   * Makes a new image and copies the disk into it, backing images included: `{ driver: 'qcow2', file: {
   * driver: 'opfs', path } }`, with `createDisk`'s options but for the size, which is the disk's unless
   * it is given and larger. What reads as zeroes is not copied. Runs in the disk's IOThread, beside the
   * guest's requests; but nobody may write to the disk meanwhile: that is ESTALE. A target that is in
   * use is EBUSY. Replaces an image that was there; when it fails or is aborted, none is left.
   */
  convertTo(target: BlockdevOptions, options: JobOptions = {}): Promise<void> {
    return this.#job(options, (job) => this.thread.jobs.convert(this.rootNode, target, job));
  }

  /**
   * The disk as an image, backing images included: raw, or a standalone qcow2 without what reads as zeroes. A
   * stream that is asked for chunk by chunk, of at most 1 MiB; nothing is stored on the way, and memory does not
   * grow with the disk (a bit for each 64 KiB of data). Cancel it, or abort, and the disk is let go of. Nobody may
   * write to the disk meanwhile: the stream then ends with ESTALE, rather than as an image that never was.
   * `onProgress` hears of bytes of the image.
   */
  exportImage(options: ExportOptions = {}): ReadableStream<Uint8Array<ArrayBuffer>> {
    const { format = 'raw' } = options;
    return this.#export(options, (job) => this.thread.jobs.export(this.rootNode, format, job));
  }

  /**
   * The bytes of one node as they are, by default of the file that holds the root image (the overlay
   * file of a qcow2 disk); otherwise as `exportImage`.
   */
  exportNode(options: ExportNodeOptions = {}): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const stream = this.#export(options, (job) =>
      exportNode(this.thread, this.rootNode, options.nodeName, job),
    );
    return iterateStream(stream);
  }

  #export(
    options: JobOptions,
    begin: (job: StartedJob) => Promise<ExportReader>,
  ): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#check('export', 0, 0);
    const { job, end } = this.#jobs.begin(options);
    const started = this.#moving;
    return exportStream({ job, begin: () => started.then(() => begin(job)), over: end });
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

  /**
   * For adapters of emulators: adds a virtio-blk device that the disk's IOThread serves, or several do.
   * Throws BlockError: ENOTSUP where `transport` is 'messages', EINVAL for memory that does not fit.
   */
  async attachDevice(options: AttachOptions): Promise<DeviceHandle> {
    await this.#moving;
    return this.#attached.add(this.thread, this, options);
  }

  /**
   * Flushes, closes the graph, and ends the thread if the disk owns it. Idempotent. Rejects with the
   * BlockError of a flush that failed, once all is let go of.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }
  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#jobs.close(this.#closed('the job'));
    await this.#moving;
    try {
      if (this.thread.failed === undefined) {
        try {
          if (!this.readOnly) await this.flush();
        } finally {
          // Storage may be full: then the flush fails, and the disk must still be let go of.
          await this.#requests.close();
          if (!this.#ownsThread) await this.thread.blockdevDel(this.rootNode);
        }
      }
    } finally {
      if (this.#ownsThread) await this.thread.close();
      this.#stopEvents();
      this.#attached.close();
    }
  }

  #closed(what: string): BlockError {
    return new BlockError('ENODEV', `${what}: the disk '${this.rootNode}' is closed`);
  }

  /** Runs what takes long until it ends, its caller aborts it, or the disk is closed. */
  async #job<T>(options: JobOptions, start: (options: StartedJob) => Promise<T>): Promise<T> {
    await this.#moving;
    if (this.#closing !== undefined) throw this.#closed('the job');
    return this.#jobs.run(options, start);
  }

  #check(what: string, offset: number, bytes: number): void {
    if (this.#closing !== undefined) throw this.#closed(what);
    checkInside(this, what, offset, bytes);
  }
  #checkWrite(what: string, offset: number, bytes: number): void {
    this.#check(what, offset, bytes);
    checkWritable(this, what);
  }
  #checkSectors(what: string, offset: number, bytes: number): void {
    this.#checkWrite(what, offset, bytes);
    checkWholeSectors(what, offset, bytes);
  }
}
