// The page's handle on an IOThread (QEMU's -object iothread): starts the worker, carries control
// calls over Comlink, and makes a worker that dies fail every call and every device, clearly.

import { releaseProxy, transfer, wrap } from 'comlink';
import type { Endpoint as ComlinkEndpoint, Remote } from 'comlink';
import { DOORBELL_WORDS } from '../aio/event-notifier.ts';
import { DEFAULT_POLL } from '../aio/poll-policy.ts';
import type { PollSettings } from '../aio/poll-policy.ts';
import { BlockError } from '../block/block-error.ts';
import type { JobOptions } from '../block/jobs/job.ts';
import type { PageHost, WorkerHandle } from '../host/host.ts';
import { TransportChannel } from '../virtio/transport-channel.ts';
import { VQ_ERRORS } from '../virtio/virtqueue.ts';
import type {
  BlockdevOptions,
  DeviceOptions,
  IOThreadControl,
  IOThreadEvent,
  OpenExtra,
  OpenedNode,
  PortDeviceOptions,
  WorkerMessage,
} from './control.ts';
import { checkDeviceMemory } from './check-device-memory.ts';
import { BlockJobs } from './block-jobs.ts';
import { countingEndpoint } from './counting-endpoint.ts';
import type { DeviceHandle } from './device-handle.ts';
import { DeviceHandles } from './device-handles.ts';
import { spawnWorker } from './iothread-options.ts';
import type { IOThreadOptions } from './iothread-options.ts';
import { GraphCalls } from './graph-calls.ts';
import { JobCalls } from './job-calls.ts';
import { MessageDriver } from './message-driver.ts';
import { moveGraph } from './move-graph.ts';
import type { MoveSide } from './move-graph.ts';
import { parsePollOptions } from './poll-options.ts';
import { chooseTransport } from './thread-transport.ts';
import type { ThreadTransport } from './thread-transport.ts';
import { MappedDevice, checkVqMapping } from './vq-mapping.ts';
import type { VqMapping } from './vq-mapping.ts';
import { installTransferHandlers } from './transfer-errors.ts';
import { watchPage } from './watch-page.ts';

/** How many threads this page has started: their nodes get names of their own. */
let started = 0;

/** How long a clean end may take before the worker is terminated all the same. */
const QUIT_TIMEOUT_MS = 10_000;

/**
 * A worker that holds graphs of nodes and serves devices, made by `startIOThread`. Its calls are QMP's:
 * `Disk` has what most pages need. Errors are BlockErrors; ENODEV once the thread is gone. A `signal`
 * ends a call with its reason.
 */
export class IOThread extends GraphCalls {
  /** As `IOThreadOptions` named it. */
  readonly id: string;
  /** How requests reach it. */
  readonly transport: ThreadTransport;
  readonly #host: PageHost;
  readonly #worker: WorkerHandle;
  /** Shared; undefined where requests are messages. */
  readonly #doorbell: Int32Array | undefined;
  // Pinned for as long as the thread lives: Comlink drops calls of a collected proxy.
  readonly #control: Remote<IOThreadControl>;
  readonly #pending = new Set<(error: Error) => void>();
  readonly #devices: DeviceHandles;
  /** @internal What takes long: checks, maps, copies, exports, imports; `Disk` has a call for each. */
  readonly jobs: BlockJobs;
  readonly #jobs: JobCalls;
  readonly #listeners = new Set<(event: IOThreadEvent) => void>();
  readonly #stopWatchingPage: () => void;
  readonly #autoPrefix: string;
  #failed: BlockError | undefined;
  #closing: Promise<void> | undefined;

  /** @internal Use `startIOThread`. Throws BlockError when the worker does not come up in time. */
  static async start(host: PageHost, options: IOThreadOptions = {}): Promise<IOThread> {
    const poll = parsePollOptions(options, DEFAULT_POLL);
    const thread = new IOThread(host, options.id ?? 'iothread', options);
    await thread.#init(options, poll);
    return thread;
  }

  private constructor(host: PageHost, id: string, options: IOThreadOptions) {
    super();
    installTransferHandlers();
    this.id = id;
    this.#autoPrefix = started === 0 ? '#block' : `#block${started}-`;
    started += 1;
    this.transport = chooseTransport(options.transport ?? 'auto');
    this.#host = host;
    if (this.transport === 'shared') {
      this.#doorbell = new Int32Array(new SharedArrayBuffer(4 * DOORBELL_WORDS));
    }
    this.#devices = new DeviceHandles(this.#doorbell, (device) => this.deviceDel(device));
    this.#worker = spawnWorker(host, id, options);
    this.#worker.onFailure((error) => this.#fail(error));
    this.#stopWatchingPage = watchPage(host, {
      close: () => this.close(),
      flushAll: () => this.flushAll(),
      putAside: () => this.#fail(new Error('its page was put aside, into the back-forward cache')),
    });
    const endpoint = this.#worker.endpoint;
    endpoint.addEventListener('message', (event) => this.#onMessage(event.data));
    const counted =
      this.#doorbell === undefined ? endpoint : countingEndpoint(endpoint, this.#doorbell);
    this.#control = wrap<IOThreadControl>(counted as ComlinkEndpoint);
    this.#jobs = new JobCalls(this.#control, (start) => this.#call(start));
    this.jobs = new BlockJobs(this.#jobs);
  }

  /** Why the thread is gone, when it ended unasked. */
  get failed(): BlockError | undefined {
    return this.#failed;
  }

  /**
   * Opens a graph of nodes from QEMU-style options; answers its root's name. The graph stays open until
   * `blockdevDel`, or the thread's end.
   */
  async blockdevAdd(
    options: BlockdevOptions | string,
    extra: OpenExtra = {},
    signal?: AbortSignal,
  ): Promise<string> {
    return (await this.blockdevOpen(options, extra, signal)).nodeName;
  }

  /** @internal The same; answers more of it. */
  blockdevOpen(
    options: BlockdevOptions | string,
    extra: OpenExtra,
    signal: AbortSignal | undefined,
  ): Promise<OpenedNode> {
    const opening = this.#jobs.run((job) => this.#control.blockdevAdd(job, options, extra), {
      signal,
    });
    // The job may have been over when it was told to end.
    const late = ({ nodeName }: OpenedNode): void => {
      if (signal?.aborted === true) void this.blockdevDel(nodeName).catch(() => {});
    };
    opening.then(late, () => {});
    return this.#call(() => opening, signal);
  }
  /** Makes an image. Aborted, or when it fails, it leaves none behind. */
  blockdevCreate(options: BlockdevOptions, signal?: AbortSignal): Promise<void> {
    return this.#jobs.run((job) => this.#control.blockdevCreate(job, options), { signal });
  }

  /**
   * Commits every disk of this thread (`Disk.commit`): what its uppermost overlay holds goes one layer down, so
   * a chain of overlays stays one. Left out are disks without a backing image, those that are read-only, and
   * those with a base that nobody can write to, such as `http`. One that fails keeps none of the others from it;
   * then rejects with its BlockError. Resolves with the node names of the overlays that were committed.
   */
  commitAll(options: JobOptions = {}): Promise<readonly string[]> {
    return this.jobs.commitAll(options);
  }

  /**
   * Moves the graph that `nodeName` is part of, with its devices, to `target`. Their guests see a
   * pause, never an error. Throws BlockError, and then all of it works on where it was; only where
   * it can be opened neither there nor here any more (EIO) its devices are gone. Answers how long
   * the devices stood still, nanoseconds.
   */
  async blockdevMove(nodeName: string, target: IOThread, signal?: AbortSignal): Promise<number> {
    if (target === this) return 0;
    if (this.transport !== target.transport) {
      const ways = `from '${this.id}' (${this.transport}) to '${target.id}' (${target.transport})`;
      throw new BlockError('ENOTSUP', `'${nodeName}' cannot move ${ways}: not the same transport`);
    }
    return moveGraph(nodeName, this.#side(), target.#side(), signal);
  }

  protected call<T>(
    start: (control: Remote<IOThreadControl>) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#call(() => start(this.#control), signal);
  }

  #side(): MoveSide {
    return {
      id: this.id,
      failed: () => this.#failed,
      devices: this.#devices,
      call: (start, signal) => this.call(start, signal),
    };
  }

  /**
   * Adds a virtio-blk device that this thread serves, with the rings and buffers of its driver where
   * they are: the memory is shared, not copied. ENOTSUP for a thread that is reached by messages.
   */
  async deviceAdd(options: DeviceOptions): Promise<DeviceHandle> {
    if (this.#doorbell === undefined) {
      const message = `IOThread '${this.id}' is reached by messages and sees no memory of others`;
      throw new BlockError('ENOTSUP', message);
    }
    checkDeviceMemory(options);
    const { channel } = await this.#call(() => this.#control.deviceAdd(options));
    const { id, numQueues } = options;
    return this.#devices.add(id, new TransportChannel(channel, numQueues), { options, channel });
  }

  /**
   * @internal Adds a virtio-blk device whose queues several threads serve, this one, which has the disk,
   * the first of them. For `Disk.attachDevice`. Throws BlockError: ENOTSUP where the disk's nodes do not allow it.
   */
  async deviceAddMapped(
    options: DeviceOptions,
    mapping: readonly VqMapping<IOThread>[],
  ): Promise<MappedDevice> {
    checkDeviceMemory(options);
    const vqs = checkVqMapping(mapping, options.numQueues);
    const threads = mapping.map(({ iothread }) => iothread);
    if (threads[0] !== this) {
      const message = `iothreadVqMapping: the disk is on IOThread '${this.id}', which must be the first entry`;
      throw new BlockError('EINVAL', message);
    }
    const deaf = threads.find((thread) => thread.transport !== 'shared');
    if (deaf !== undefined) {
      const message = `iothreadVqMapping: IOThread '${deaf.id}' is reached by messages and sees no memory of others`;
      throw new BlockError('ENOTSUP', message);
    }
    return MappedDevice.add(
      options,
      threads.map((thread) => thread.#side()),
      vqs,
    );
  }

  /** @internal Adds a virtio-blk device whose requests are messages; only where `transport` says so. */
  async portDeviceAdd(
    options: PortDeviceOptions,
  ): Promise<{ driver: MessageDriver; device: DeviceHandle }> {
    const { port1: port, port2 } = new MessageChannel();
    const { id, queueSize, poolPages } = options;
    const state = await this.#call(() =>
      this.#control.portDeviceAdd(options, transfer(port2, [port2])),
    );
    const channel = TransportChannel.local(1);
    const device = this.#devices.add(id, channel);
    const onCall = (): void => device.called();
    const driver = new MessageDriver({ port, channel, state, queueSize, poolPages, onCall });
    return { driver, device };
  }

  /** Waits for what is in flight, then takes a device away; its disk stays open. */
  async deviceDel(id: string): Promise<void> {
    await this.#call(() => this.#control.deviceDel(id));
    this.#devices.delete(id);
  }

  /** Calls back with each event; answers what stops it. */
  onEvent(listener: (event: IOThreadEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Flushes and closes every node, then ends the worker. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends the worker at once, as a crash would: calls and devices fail, unflushed data are lost. */
  terminate(): void {
    this.#fail(new Error('it was terminated'));
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #init(options: IOThreadOptions, poll: PollSettings): Promise<void> {
    const limit = options.startTimeoutMs ?? 20_000;
    const cancel = this.#host.setTimer(
      () => this.#fail(new Error(`it did not start within ${limit} ms`)),
      limit,
    );
    const doorbell = this.#doorbell?.buffer as SharedArrayBuffer | undefined;
    try {
      const setup = {
        id: this.id,
        life: this.#worker.life,
        poll,
        autoPrefix: this.#autoPrefix,
        driverUrls: this.#worker.driverUrls,
        ...(doorbell === undefined ? {} : { doorbell }),
      };
      await this.#call(() => this.#control.init(setup), options.signal);
      this.#worker.watchLife();
    } catch (error) {
      this.#worker.terminate();
      throw error;
    } finally {
      cancel();
    }
  }

  async #close(): Promise<void> {
    if (this.#failed !== undefined) return;
    let error: unknown;
    const cancel = this.#host.setTimer(
      () => this.#fail(new Error(`it did not end within ${QUIT_TIMEOUT_MS} ms`)),
      QUIT_TIMEOUT_MS,
    );
    try {
      await this.#call(() => this.#control.quit());
    } catch (failure) {
      error = failure;
    }
    cancel();
    this.#stopWatchingPage();
    this.#failed ??= new BlockError('ENODEV', `IOThread '${this.id}' was closed`);
    this.#devices.fail(this.#failed);
    this.#control[releaseProxy]();
    this.#worker.terminate();
    if (error !== undefined) throw error as Error;
  }

  /** A control call that also ends when the thread dies or `signal` aborts. */
  #call<T>(start: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed);
    return new Promise<T>((resolve, reject) => {
      const abort = (): void => settle(() => reject(signal!.reason as Error));
      const fail = (error: Error): void => settle(() => reject(error));
      const settle = (finish: () => void): void => {
        this.#pending.delete(fail);
        signal?.removeEventListener('abort', abort);
        finish();
      };
      if (signal?.aborted === true) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      this.#pending.add(fail);
      start().then(
        (value) => settle(() => resolve(value)),
        (error: Error) => settle(() => reject(error)),
      );
    });
  }

  #fail(cause: Error): void {
    if (this.#failed !== undefined) return;
    const message = `IOThread '${this.id}' is gone: ${cause.message}`;
    this.#failed = new BlockError('ENODEV', message, { cause });
    for (const reject of [...this.#pending]) reject(this.#failed);
    this.#devices.fail(this.#failed);
    this.#emit({ event: 'IOTHREAD_FAILED', message });
    this.#stopWatchingPage();
    this.#worker.terminate();
  }

  #emit(event: IOThreadEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  #onMessage(data: unknown): void {
    if (typeof data !== 'object' || data === null || !('diskplane' in data)) return;
    const message = data as WorkerMessage;
    switch (message.diskplane) {
      case 'event':
        return this.#emit(message.event);
      case 'progress':
        return this.#jobs.progress(message);
      case 'call':
        return this.#devices.called(message.device);
      case 'broken': {
        const reason = VQ_ERRORS[message.reason] ?? `reason ${message.reason}`;
        this.#emit({ event: 'DEVICE_NEEDS_RESET', device: message.device, reason });
      }
    }
  }
}
