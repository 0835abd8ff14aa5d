// What the façade's calls take and answer, but for single bytes.

import type { JobOptions } from './block/jobs/job.ts';
import type { WorkerSource } from './host/host.ts';
import type {
  BackingPolicy,
  BlockNodeInfo,
  BlockNodeStats,
  IOThreadEvent,
} from './iothread/control.ts';
import type { IOThread, IOThreadOptions } from './iothread/iothread.ts';
import type { VqMapping } from './iothread/vq-mapping.ts';
import type { ThreadTransport } from './iothread/thread-transport.ts';

/** How a disk is opened. Its `WorkerSource` is for the thread that is started where none is given. */
export interface OpenDiskOptions extends WorkerSource {
  /** Where its graph runs. Default: a thread of its own, which ends with the disk. */
  readonly thread?: IOThread;
  /** How requests reach the thread that is started; see `IOThreadOptions`. Default `auto`. */
  readonly transport?: 'auto' | ThreadTransport;
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

/** Which part of a disk `Disk.map` tells of. */
export interface MapOptions extends RequestOptions {
  /** Bytes. Default: 0, and all there is. */
  readonly offset?: number;
  readonly bytes?: number;
}

/** What `Disk.exportImage` makes. */
export interface ExportOptions extends JobOptions {
  /** Default 'raw'. */
  readonly format?: 'raw' | 'qcow2';
}

/** What `Disk.exportNode` reads. */
export interface ExportNodeOptions extends JobOptions {
  /** Default: the file that holds the root image. */
  readonly nodeName?: string;
}

/** How an emulator's adapter adds a device of its own; see `DeviceOptions`. */
export interface AttachOptions {
  readonly id?: string;
  readonly memory: WebAssembly.Memory;
  readonly ramBase: number;
  readonly ramBytes: number;
  readonly scratch: number;
  readonly numQueues: number;
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
