// The page's handle on an IOThread (QEMU's -object iothread): starts the worker, carries control
// calls over Comlink, and makes a worker that dies fail every call and every device, clearly.

import { releaseProxy, transfer, wrap } from 'comlink';
import type { Endpoint as ComlinkEndpoint, Remote } from 'comlink';
import { DOORBELL_WORDS } from '../aio/event-notifier.ts';
import { DEFAULT_POLL } from '../aio/poll-policy.ts';
import type { PollSettings } from '../aio/poll-policy.ts';
import { BlockError } from '../block/block-error.ts';
import type { PageHost, WorkerHandle, WorkerSource } from '../host/host.ts';
import { TransportChannel } from '../virtio/transport-channel.ts';
import { VQ_ERRORS } from '../virtio/virtqueue.ts';
import type {
  BackingPolicy,
  BlockNodeInfo,
  BlockNodeStats,
  BlockdevOptions,
  DeviceOptions,
  IOThreadControl,
  IOThreadEvent,
  IOThreadStats,
  PortDeviceOptions,
  WorkerMessage,
} from './control.ts';
import { BlockJobs } from './block-jobs.ts';
import { countingEndpoint } from './counting-endpoint.ts';
import type { DeviceHandle } from './device-handle.ts';
import { DeviceHandles } from './device-handles.ts';
import { JobCalls } from './job-calls.ts';
import { MessageDriver } from './message-driver.ts';
import { moveGraph } from './move-graph.ts';
import type { MoveSide } from './move-graph.ts';
import { parsePollOptions } from './poll-options.ts';
import type { PollOptions } from './poll-options.ts';
import { chooseTransport } from './thread-transport.ts';
import type { ThreadTransport } from './thread-transport.ts';
import { MappedDevice, checkVqMapping } from './vq-mapping.ts';
import type { VqMapping } from './vq-mapping.ts';
import { installTransferHandlers } from './transfer-errors.ts';
import { watchPage } from './watch-page.ts';

/** How an IOThread is started. */
export interface IOThreadOptions extends WorkerSource, PollOptions {
  /** Shows up in errors and developer tools. Default 'iothread'. */
  readonly id?: string;
  /**
   * How requests reach it. `auto`, the default, is messages where there is no SharedArrayBuffer: the
   * page is not cross-origin isolated.
   */
  readonly transport?: 'auto' | ThreadTransport;
  /** How long the worker may take to start, milliseconds. Default 20,000. */
  readonly startTimeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** How many threads this page has started: their nodes get names of their own. */
let started = 0;

/** How long a clean end may take before the worker is terminated all the same. */
const QUIT_TIMEOUT_MS = 10_000;

function spawn(host: PageHost, id: string, source: WorkerSource): WorkerHandle {
  try {
    return host.spawnIOThread(`diskplane-${id}`, source);
  } catch (cause) {
    throw new BlockError('ENODEV', `IOThread '${id}' cannot be started: ${String(cause)}`, {
      cause,
    });
  }
}

export class IOThread {
  readonly id: string;
  readonly transport: ThreadTransport;
  readonly #host: PageHost;
  readonly #worker: WorkerHandle;
  /** Shared; undefined where requests are messages. */
  readonly #doorbell: Int32Array | undefined;
  // Pinned for as long as the thread lives: Comlink drops calls of a collected proxy.
  readonly #control: Remote<IOThreadControl>;
  readonly #pending = new Set<(error: Error) => void>();
  readonly #devices: DeviceHandles;
  /** What takes long: checks, maps, copies, exports, imports. */
  readonly jobs: BlockJobs;
  readonly #jobs: JobCalls;
  readonly #listeners = new Set<(event: IOThreadEvent) => void>();
  readonly #stopWatchingPage: () => void;
  readonly #autoPrefix: string;
  #failed: BlockError | undefined;
  #closing: Promise<void> | undefined;

  /** Starts a worker. Throws BlockError when it does not come up in time. */
  static async start(host: PageHost, options: IOThreadOptions = {}): Promise<IOThread> {
    const poll = parsePollOptions(options, DEFAULT_POLL);
    const thread = new IOThread(host, options.id ?? 'iothread', options);
    await thread.#init(options, poll);
    return thread;
  }

  private constructor(host: PageHost, id: string, options: IOThreadOptions) {
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
    this.#worker = spawn(host, id, options);
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

  /** Opens a graph of nodes from QEMU-style options; answers its root's name. An abort is heard at once. */
  blockdevAdd(
    options: BlockdevOptions | string,
    extra: { readonly policy?: BackingPolicy; readonly readOnly?: boolean } = {},
    signal?: AbortSignal,
  ): Promise<string> {
    const opening = this.#jobs.run((job) => this.#control.blockdevAdd(job, options, extra), {
      signal,
    });
    // The job may have been over when it was told to end.
    const late = (root: string): void => {
      if (signal?.aborted === true) void this.blockdevDel(root).catch(() => {});
    };
    opening.then(late, () => {});
    return this.#call(() => opening, signal);
  }
  blockdevDel(nodeName: string): Promise<void> {
    return this.#call(() => this.#control.blockdevDel(nodeName));
  }
  /** Makes an image. Aborted, or when it fails, it leaves none behind. */
  blockdevCreate(options: BlockdevOptions, signal?: AbortSignal): Promise<void> {
    return this.#jobs.run((job) => this.#control.blockdevCreate(job, options), { signal });
  }
  blockResize(nodeName: string, length: number, signal?: AbortSignal): Promise<void> {
    return this.#call(() => this.#control.blockResize(nodeName, length), signal);
  }
  blockFlush(nodeName: string): Promise<void> {
    return this.#call(() => this.#control.blockFlush(nodeName));
  }
  /**
   * Makes all that was written to any disk of this thread durable. One that fails keeps none of the others
   * from it. Also done by itself when the page is hidden or frozen.
   */
  flushAll(): Promise<void> {
    return this.#call(() => this.#control.blockFlushAll());
  }
  /** Resolves when every request that is under way is over; those made meanwhile wait. */
  drainAll(): Promise<void> {
    return this.#call(() => this.#control.blockDrainAll());
  }
  blockGeneration(nodeName: string, signal?: AbortSignal): Promise<string> {
    return this.#call(() => this.#control.blockGeneration(nodeName), signal);
  }
  queryBlock(signal?: AbortSignal): Promise<readonly BlockNodeInfo[]> {
    return this.#call(() => this.#control.queryBlock(), signal);
  }
  queryBlockstats(signal?: AbortSignal): Promise<readonly BlockNodeStats[]> {
    return this.#call(() => this.#control.queryBlockstats(), signal);
  }
  /**
   * Times every request of every node from now on (`BlockNodeStats.latency`), or none, as at first:
   * two looks at the clock cost more than a request that is answered at once.
   */
  blockLatencyHistogramSet(on: boolean): Promise<void> {
    return this.#call(() => this.#control.blockLatencyHistogramSet(on));
  }
  queryIothread(): Promise<IOThreadStats> {
    return this.#call(() => this.#control.queryIothread());
  }
  setPoll(options: PollOptions): Promise<void> {
    return this.#call(() => this.#control.setPoll(options));
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
    let start = 0;
    const onPause = (): void => void (start = this.#host.now());
    await moveGraph(nodeName, this.#side(), target.#side(), onPause, signal);
    return this.#host.now() - start;
  }

  #side(): MoveSide {
    return {
      id: this.id,
      failed: () => this.#failed,
      devices: this.#devices,
      call: (start, signal) => this.#call(() => start(this.#control), signal),
    };
  }

  /** Adds a virtio-blk device that this thread serves. The memory is shared, not copied. */
  async deviceAdd(options: DeviceOptions): Promise<DeviceHandle> {
    if (this.#doorbell === undefined) {
      const message = `IOThread '${this.id}' is reached by messages and sees no memory of others`;
      throw new BlockError('ENOTSUP', message);
    }
    const { channel } = await this.#call(() => this.#control.deviceAdd(options));
    return this.#devices.add(options.id, new TransportChannel(channel, options.numQueues));
  }

  /**
   * Adds a virtio-blk device whose queues several threads serve, this one, which has the disk, the
   * first of them. Throws BlockError: ENOTSUP where the disk's nodes do not allow it.
   */
  async deviceAddMapped(
    options: DeviceOptions,
    mapping: readonly VqMapping<IOThread>[],
  ): Promise<MappedDevice> {
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

  /** Adds a virtio-blk device whose requests are messages; only where `transport` says so. */
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
