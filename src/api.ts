// What every entry exports besides its own `openDisk`, `createDisk` and `startIOThread`: the classes
// and types that those answer and take, the same on every host.

export { Disk } from './disk.ts';
export type {
  AttachOptions,
  DiskStats,
  ExportNodeOptions,
  ExportOptions,
  MapOptions,
  OpenDiskOptions,
  RequestOptions,
  WriteOptions,
} from './disk-options.ts';
export type { JobOptions, Progress } from './block/jobs/job.ts';
export type { MapEntry } from './block/jobs/map.ts';
export { BlockError } from './block/block-error.ts';
export type { ErrorCode } from './base/ret.ts';
export type { LoopCounters } from './aio/worker-context.ts';
export type { LatencyStats } from './block/query-stats.ts';
export type { PollOptions } from './iothread/poll-options.ts';
export type { VqMapping } from './iothread/vq-mapping.ts';
export type { DeviceHandle } from './iothread/device-handle.ts';
export type { TransportChannel } from './virtio/transport-channel.ts';
export type { DeviceChannel, QueueSetup } from './virtio/device-channel.ts';
export type { CacheMode } from './block/cache-mode.ts';
export type { CheckResult } from './block/block-driver.ts';
export { IOThread } from './iothread/iothread.ts';
export type { IOThreadOptions } from './iothread/iothread-options.ts';
export type { ThreadTransport } from './iothread/thread-transport.ts';
export type { CreateDiskOptions } from './create-disk.ts';
export type { ImportDiskOptions } from './import-disk.ts';
export { persistStorage, queryStorage } from './host/storage.ts';
export type { StorageInfo } from './host/storage.ts';
export type { WorkerSource } from './host/host.ts';
export type {
  BackingPolicy,
  BlockNodeInfo,
  BlockNodeStats,
  BlockdevOptions,
  CacheFlags,
  DeviceOptions,
  DeviceStats,
  IOThreadEvent,
  IOThreadStats,
  OpenExtra,
} from './iothread/control.ts';
