// What the page asks of an IOThread, in QMP's words. Comlink carries it; data never goes this way.

import type { PollSettings } from '../aio/poll-policy.ts';
import type { LoopCounters } from '../aio/worker-context.ts';
import type { ErrorCode } from '../base/ret.ts';
import type { CheckResult } from '../block/block-driver.ts';
import type { Progress } from '../block/jobs/job.ts';
import type { MapEntry } from '../block/jobs/map.ts';
import type { MovedGraph, MovingNode } from '../block/move.ts';
import type { BackingPolicy } from '../block/policy.ts';
import type { BlockNodeInfo } from '../block/query.ts';
import type { BlockNodeStats } from '../block/query-stats.ts';
import type { DriverUrls } from '../host/driver-urls.ts';
import type { DeviceWiring } from './device-table.ts';
import type { DeviceState } from './device-messages.ts';
import type { PollOptions } from './poll-options.ts';

/** `blockdev-add` options as QEMU writes them: nested objects, dotted keys or short names. */
export type BlockdevOptions = Readonly<Record<string, unknown>>;

export type { BlockNodeInfo, BlockNodeStats, MapEntry, Progress };

/** What was opened. */
export type OpenedNode = Pick<BlockNodeInfo, 'nodeName' | 'readOnly'>;

/** What the nodes of a graph do about caches. */
export interface CacheFlags {
  /** `cache.direct`: keep no more data in memory than a driver cannot do without. */
  readonly cacheDirect: boolean;
  /** `cache.no-flush`: answer flushes, and do not sync storage. */
  readonly cacheNoFlush: boolean;
}

/** What `blockdev-add` takes besides. */
export interface OpenExtra {
  /** Which backing files named *inside* images may be followed. Default: none. */
  readonly policy?: BackingPolicy | undefined;
  /** Open all of it for reading only. */
  readonly readOnly?: boolean | undefined;
  /** `cache.direct` and `cache.no-flush` of nodes that say neither. Default: neither. */
  readonly cache?: CacheFlags;
}

/** Running counts of an IOThread (`query-iothreads`): its loop and the devices it serves. */
export interface IOThreadStats extends Required<PollOptions> {
  /** How long the loop would busy-wait now, nanoseconds. */
  readonly pollNs: number;
  /** What its event loop did since it started. */
  readonly loop: LoopCounters;
  /** Those that the thread serves now. */
  readonly devices: readonly DeviceStats[];
}

/** Running counts of a device, all queues together, since its driver last started it. */
export interface DeviceStats {
  /** As it was added. */
  readonly id: string;
  /** Requests taken from the rings. */
  readonly requests: number;
  /** Requests answered with a number, at once. */
  readonly answeredSync: number;
  /** Pops that found something. */
  readonly batches: number;
  /** Interrupts raised. */
  readonly interrupts: number;
  /** Views of guest memory that had to be made. */
  readonly viewsMade: number;
}

/** How a virtio-blk device is added that reads its driver's memory. */
export interface DeviceOptions {
  /** Names it in calls and events; of no other device of the thread. */
  readonly id: string;
  /** Node name of the disk. */
  readonly drive: string;
  /** The memory that rings and buffers lie in; shared. */
  readonly memory: WebAssembly.Memory;
  /** Where guest RAM starts in `memory`, bytes, a multiple of 4: guest address 0. */
  readonly ramBase: number;
  /** Guest RAM, bytes, below 4 GiB. What the driver names beyond it breaks the queue. */
  readonly ramBytes: number;
  /**
   * Start of 65536 bytes (QUEUE_SCRATCH_BYTES) for each queue in `memory`, at a multiple of 64, which
   * belong to the device until it is removed. Outside guest RAM.
   */
  readonly scratch: number;
  /** 1 to 64. */
  readonly numQueues: number;
  /** @internal Of a device that several IOThreads serve: the queues of this one. Default: all. */
  readonly vqs?: readonly number[];
  /** @internal The same: its channel, which the first of the threads made. */
  readonly channel?: SharedArrayBuffer;
  /** Answer to GET_ID, at most 20 ASCII characters. */
  readonly serial?: string;
  /** Refuse writes, also where the disk could be written. */
  readonly readOnly?: boolean;
  /** The driver may use packed rings (VIRTIO_F_RING_PACKED). Default: split ones alone. */
  readonly packed?: boolean;
  /**
   * The driver is to kick for every request, also while the IOThread polls: for an emulator, which has a
   * turn at a kick and takes completions then. Default: polling does without kicks.
   */
  readonly everyKick?: boolean;
}

/** How a virtio-blk device is added whose driver sends messages. */
export interface PortDeviceOptions {
  readonly id: string;
  /** Node name of the disk. */
  readonly drive: string;
  /** Requests in flight at most; a power of two. */
  readonly queueSize: number;
  /** Pages of 64 KiB for the data of requests in flight; at least 16. */
  readonly poolPages: number;
  /** Answer to GET_ID, at most 20 ASCII characters. */
  readonly serial?: string;
}

/** What a device's transport gets back. */
export interface DeviceSetup {
  /** Words of the DeviceChannel. */
  readonly channel: SharedArrayBuffer;
}

/** What happens by itself (QMP events). `message` and `reason` are for people. */
export type IOThreadEvent =
  | {
      /** Worth knowing, and no failure: a slower way was taken, an image was repaired. */
      readonly event: 'NOTICE';
      /** The node that it is about. */
      readonly nodeName: string;
      /** What happened. */
      readonly message: string;
    }
  | {
      /** A request failed, and its driver - the guest's, or `Disk` - was told so. */
      readonly event: 'BLOCK_IO_ERROR';
      /** Id of the device that the request came from. */
      readonly device: string;
      /** What was asked for. */
      readonly operation: 'read' | 'write' | 'flush' | 'discard' | 'write-zeroes';
      /** Why it failed: ENOSPC for a full disk, EIO for most else. */
      readonly code: ErrorCode;
      /** The same with its offset, bytes. */
      readonly message: string;
    }
  | {
      /** The driver broke virtio's rules: the device stands still until the guest resets it. */
      readonly event: 'DEVICE_NEEDS_RESET';
      /** Its id. */
      readonly device: string;
      /** The rule. */
      readonly reason: string;
    }
  | {
      /** A node has another length. */
      readonly event: 'BLOCK_RESIZE';
      /** Its name. */
      readonly nodeName: string;
      /** The new one, bytes. */
      readonly length: number;
    }
  | {
      /** A callback of the loop threw: a bug of ours. The thread goes on. */
      readonly event: 'IOTHREAD_BUG';
      /** What was thrown. */
      readonly message: string;
    }
  | {
      /** The thread ended unasked: every call and device of it fails from now on. */
      readonly event: 'IOTHREAD_FAILED';
      /** Why, as `IOThread.failed` says it. */
      readonly message: string;
    };

export type { BackingPolicy };

/** What moves together. Structured-cloneable, but not over every port: there may be shared memory in it. */
export interface MovePlan {
  readonly nodes: readonly MovingNode[];
  /** Ids of devices. */
  readonly devices: readonly string[];
}

/** For the thread that they move to: devices by id, as far as they are in shared memory. */
export type MovingDevices = ReadonlyMap<string, MovingDevice>;

export interface MovingDevice {
  /** One device's in this page. */
  readonly key: number;
  /** Left out where the thread was told before: to clone a memory is cheap, but garbage of its size. */
  readonly wiring?: DeviceWiring;
}

/** What a move came to. */
export interface GraphSent {
  /** Ids of the devices that went along. */
  readonly devices: readonly string[];
  /** How long they stood still, nanoseconds. */
  readonly pauseNs: number;
}

/** What the worker sends unasked; everything else is Comlink's. */
export type WorkerMessage =
  | { readonly diskplane: 'event'; readonly event: IOThreadEvent }
  /** The device called, and its transport cannot wait on shared memory. */
  | { readonly diskplane: 'call'; readonly device: string }
  /** The device needs reset: `VQ_*`. */
  | { readonly diskplane: 'broken'; readonly device: string; readonly reason: number }
  /** How far a job is. */
  | ({ readonly diskplane: 'progress'; readonly job: number } & Progress);

/** How a started worker is set up, once. */
export interface IOThreadSetup {
  readonly id: string;
  /** For `Host.holdLife`. */
  readonly life: string;
  /** DOORBELL_WORDS shared words; left out where there is no shared memory. */
  readonly doorbell?: SharedArrayBuffer;
  readonly poll: PollSettings;
  /** What names of nodes begin with that were given none; no other thread's. */
  readonly autoPrefix: string;
  readonly driverUrls: DriverUrls;
}

/**
 * The interface exposed by the worker. Errors are BlockErrors, on both sides of the hop. Calls that
 * may take long are jobs, with a number of the page's choice. `jobBegin` goes ahead of the call, so that
 * `jobCancel` finds the job however long its code takes to load; it ends the job early, which then cleans
 * up and rejects.
 */
export interface IOThreadControl {
  /** First call: starts the event loop. Its answer is the ready handshake. */
  init(setup: IOThreadSetup): Promise<void>;
  jobBegin(job: number): Promise<void>;
  jobCancel(job: number): Promise<void>;
  /** Opens a graph; answers its root. */
  blockdevAdd(
    job: number,
    options: BlockdevOptions | string,
    extra: OpenExtra,
  ): Promise<OpenedNode>;
  /** Closes a node that nobody uses, and the children opened with it. */
  blockdevDel(nodeName: string): Promise<void>;
  /** Makes an image: protocol file first, then the format on it. */
  blockdevCreate(job: number, options: BlockdevOptions): Promise<void>;
  blockResize(nodeName: string, length: number): Promise<void>;
  blockCheck(job: number, nodeName: string, fix: 'none' | 'leaks' | 'all'): Promise<CheckResult>;
  /** Which layer holds what; see `mapDisk`. */
  blockMap(
    job: number,
    nodeName: string,
    offset: number,
    bytes: number | undefined,
  ): Promise<readonly MapEntry[]>;
  /** Throws away what was written to an overlay. A job that is canceled before it begins does nothing. */
  blockReset(job: number, nodeName: string): Promise<void>;
  /** Puts what an overlay holds into its backing image, and empties it; see `commitDisk`. */
  blockCommit(job: number, nodeName: string): Promise<void>;
  /** The same of all disks; answers their overlays. See `commitAll`. */
  blockCommitAll(job: number): Promise<readonly string[]>;
  /** Copies a disk into a new image; see `convertDisk`. */
  blockConvert(job: number, nodeName: string, target: BlockdevOptions): Promise<void>;
  blockFlush(nodeName: string): Promise<void>;
  /** Makes all that was written to any node durable; see `flushAll`. */
  blockFlushAll(): Promise<void>;
  /** Resolves when every request that is under way is over. */
  blockDrainAll(): Promise<void>;
  /** Lets go of all images, and takes them up again; see `inactivateAll` and `activateAll`. */
  blockInactivateAll(): Promise<void>;
  blockActivateAll(): Promise<void>;
  /** Reopens nodes in one transaction; see `reopenNodes`. */
  blockdevReopen(requests: readonly BlockdevOptions[]): Promise<void>;
  /** Which version of its contents the node has; see NodeControl.generation. */
  blockGeneration(nodeName: string): Promise<string>;
  /** What would move together with a node. Throws BlockError('EBUSY') where it cannot. */
  blockdevPlanMove(nodeName: string): Promise<MovePlan>;
  /** Move `move`: takes a graph and its devices to the thread that has the other end of `port`. */
  blockdevSend(move: number, nodeName: string, port: MessagePort): Promise<GraphSent>;
  /**
   * Move `move`: makes ready for what is planned, says so over `port`, and takes in what comes. Resolves when
   * it is there.
   */
  blockdevReceive(
    move: number,
    nodes: readonly MovingNode[],
    devices: MovingDevices,
    port: MessagePort,
  ): Promise<void>;
  /** A device that was here once is gone for good. */
  deviceForget(key: number): Promise<void>;
  /** Move `move`: what the page is to take to the other thread, once it is known; undefined where the port does. */
  blockdevParcel(move: number): Promise<MovedGraph | undefined>;
  /** Move `move`: that. Resolves when it was taken. */
  blockdevDeliver(move: number, moved: MovedGraph): Promise<void>;
  /** Ends either, because the other thread is gone or its part is over. */
  blockdevRecall(move: number): Promise<void>;
  /** Opens what another thread keeps open as well; see `blockdevShare`. */
  blockdevAttach(shared: MovedGraph): Promise<void>;
  /** What another thread opens the same disk with, beside this one. ENOTSUP where a node forbids it. */
  blockdevShare(nodeName: string): Promise<MovedGraph>;
  /** Has a device take no more requests; resolves when the last one is answered. */
  devicePause(id: string): Promise<void>;
  deviceResume(id: string): Promise<void>;
  deviceAdd(options: DeviceOptions): Promise<DeviceSetup>;
  /** Adds a device for the MessageDriver at the other end of `port`; answers its state. */
  portDeviceAdd(options: PortDeviceOptions, port: MessagePort): Promise<DeviceState>;
  /** Waits for what is in flight, then removes the device; its disk stays open. */
  deviceDel(id: string): Promise<void>;
  queryBlock(): Promise<readonly BlockNodeInfo[]>;
  queryBlockstats(): Promise<readonly BlockNodeStats[]>;
  /** Times every request of every node from now on, anew (block-latency-histogram-set); or none. */
  blockLatencyHistogramSet(on: boolean): Promise<void>;
  /**
   * Begins to read the disk of a node as an image of `format`; see `ImageExport`. Answers its length.
   * The job lasts until `exportEnd`, or until it is canceled.
   */
  exportBegin(job: number, nodeName: string, format: string): Promise<number>;
  /** The next bytes of the image, handed over; undefined when there are no more. */
  exportNext(job: number): Promise<Uint8Array<ArrayBuffer> | undefined>;
  exportEnd(job: number): Promise<void>;
  /** Copies a Blob into a new image; see `importBlob`. */
  importBlob(job: number, blob: Blob, target: BlockdevOptions): Promise<void>;
  /**
   * Makes an image that is filled by `importWrite`, one after the other; see `ImageImport`. The job
   * lasts until `importEnd`, which says that all has come, and throws what ended it before.
   */
  importBegin(job: number, target: BlockdevOptions, size: number | undefined): Promise<void>;
  importWrite(job: number, bytes: Uint8Array): Promise<void>;
  importEnd(job: number): Promise<void>;
  queryIothread(): Promise<IOThreadStats>;
  /** Changes how the loop busy-waits, from its next wait on; what is left out stays. */
  setPoll(options: PollOptions): Promise<void>;
  /** Flushes and closes everything. The worker may be terminated afterwards. */
  quit(): Promise<void>;
}

/** Jobs whose code the worker loads when the first of them comes. */
export type JobCall =
  | 'blockdevCreate'
  | 'blockCheck'
  | 'blockMap'
  | 'blockReset'
  | 'blockCommit'
  | 'blockCommitAll'
  | 'blockConvert'
  | 'exportBegin'
  | 'importBlob'
  | 'importBegin';

/** Calls whose code the worker loads when the first of them comes. */
export type SeldomCall =
  | 'blockResize'
  | 'blockFlush'
  | 'blockFlushAll'
  | 'blockDrainAll'
  | 'blockInactivateAll'
  | 'blockActivateAll'
  | 'blockdevReopen'
  | 'blockGeneration'
  | 'blockdevPlanMove'
  | 'blockdevSend'
  | 'blockdevReceive'
  | 'blockdevParcel'
  | 'blockdevDeliver'
  | 'deviceForget'
  | 'blockdevRecall'
  | 'blockdevAttach'
  | 'blockdevShare'
  | 'devicePause'
  | 'deviceResume'
  | 'queryBlock'
  | 'queryBlockstats'
  | 'blockLatencyHistogramSet'
  | 'exportNext'
  | 'exportEnd'
  | 'importWrite'
  | 'importEnd'
  | 'queryIothread'
  | 'setPoll';
