// What the façade's calls take and answer, but for single bytes.

import type { CacheMode } from './block/cache-mode.ts';
import type { JobOptions } from './block/jobs/job.ts';
import type { WorkerSource } from './host/host.ts';
import type {
  BackingPolicy,
  BlockNodeInfo,
  BlockNodeStats,
  IOThreadEvent,
} from './iothread/control.ts';
import type { IOThreadOptions } from './iothread/iothread-options.ts';
import type { IOThread } from './iothread/iothread.ts';
import type { VqMapping } from './iothread/vq-mapping.ts';
import type { ThreadTransport } from './iothread/thread-transport.ts';

/** How a disk is opened. Its `WorkerSource` is for the thread that is started where none is given. */
export interface OpenDiskOptions extends WorkerSource {
  /** Where its graph runs. Default: a thread of its own, which ends with the disk. */
  readonly thread?: IOThread;
  /** How requests reach the thread that is started; see `IOThreadOptions`. Default `auto`. */
  readonly transport?: 'auto' | ThreadTransport;
  /** Open all of it for reading only. Default: for writing, as far as the root's layers can be written. */
  readonly readOnly?: boolean;
  /**
   * As QEMU's `cache=`: when a write counts as done, and what is kept in memory. `'writeback'`: the guest's
   * flushes make writes durable. `'writethrough'`: every write is, unless the guest turns its write cache
   * on. `'none'` and `'directsync'`: the same two, with caches as small as they can be. `'unsafe'`: flushes
   * are answered and go no further. Default `'writeback'`.
   */
  readonly cache?: CacheMode;
  /** Which backing files named *inside* images may be followed. Default: none. */
  readonly policy?: BackingPolicy;
  /** Answer to the guest's GET_ID, at most 20 ASCII characters. */
  readonly serial?: string;
  /** Called with what happens by itself: notices, I/O errors, a lost thread. */
  readonly onEvent?: (event: IOThreadEvent) => void;
  /** Ends the opening with its reason; of no effect on an open disk. */
  readonly signal?: AbortSignal;
}

/** What `Disk.stats` answers. */
export interface DiskStats {
  /** The nodes of the disk's IOThread: those of other disks that it holds are among them. */
  readonly nodes: readonly BlockNodeInfo[];
  /** The counts of each, in the same order. */
  readonly counts: readonly BlockNodeStats[];
}

/** Options that one request takes. */
export interface RequestOptions {
  /**
   * Ends the call with its reason, at once. A read, write or flush that was on its way is carried out all
   * the same, with nobody waiting; what takes long (check, map, reset) ends early.
   */
  readonly signal?: AbortSignal;
}

/** How `Disk.write` writes. */
export interface WriteOptions extends RequestOptions {
  /** Resolve when it is durable. */
  readonly fua?: boolean;
}

/** Which part of a disk `Disk.map` tells of. */
export interface MapOptions extends RequestOptions {
  /** Where to begin, bytes. Default 0. */
  readonly offset?: number;
  /** How much to tell of, bytes. Default: all that follows. */
  readonly bytes?: number;
}

/** What `Disk.exportImage` makes. */
export interface ExportOptions extends JobOptions {
  /** Of the image that is made. Default 'raw'. */
  readonly format?: 'raw' | 'qcow2';
}

/** What `Disk.exportNode` reads. */
export interface ExportNodeOptions extends JobOptions {
  /** Which node. Default: the file that holds the root image. */
  readonly nodeName?: string;
}

/** How the adapter of an emulator with shared memory adds a device of its own to a disk. */
export interface AttachOptions {
  /** Names the device in events; of no other device of the thread. Default: made from the node's name. */
  readonly id?: string;
  /** The memory that rings and buffers lie in; shared. The IOThread reads and writes it in place. */
  readonly memory: WebAssembly.Memory;
  /** Where guest RAM starts in `memory`, bytes, a multiple of 4: guest address 0. */
  readonly ramBase: number;
  /** Guest RAM, bytes, below 4 GiB. What the driver names beyond it breaks the queue. */
  readonly ramBytes: number;
  /**
   * Start of 65536 bytes for each queue in `memory`, at a multiple of 64, which belong to the device
   * until it is removed. Outside guest RAM.
   */
  readonly scratch: number;
  /** 1 to 64. */
  readonly numQueues: number;
  /** Have the driver kick for every request; see `DeviceOptions.everyKick`. */
  readonly everyKick?: boolean;
  /** Which IOThread serves which queue; the first entry is the disk's own. Default: that one, all. */
  readonly iothreadVqMapping?: readonly VqMapping<IOThread>[];
}

/** What `options` says about an IOThread of its own. */
export function threadOptions(
  options: WorkerSource & Pick<IOThreadOptions, 'signal' | 'transport'>,
): IOThreadOptions {
  const { workerUrl, driversUrl, createWorker, signal, transport } = options;
  return {
    ...(transport === undefined ? {} : { transport }),
    ...(workerUrl === undefined ? {} : { workerUrl }),
    ...(driversUrl === undefined ? {} : { driversUrl }),
    ...(createWorker === undefined ? {} : { createWorker }),
    ...(signal === undefined ? {} : { signal }),
  };
}
