/**
 * Gives an unmodified v86 a virtio-blk disk that an IOThread serves. In place where the emulator's memory
 * is shared (`sharedMemoryV86`), through a bounce memory otherwise, in messages where the page has no
 * shared memory at all.
 *
 * @module diskplane/v86
 */

import { isShared } from '../base/shared-buffer.ts';
import { BlockError } from '../block/block-error.ts';
import type { Disk } from '../disk.ts';
import { connectDriver } from '../iothread/connect-driver.ts';
import type { IOThread } from '../iothread/iothread.ts';
import type { VqMapping } from '../iothread/vq-mapping.ts';
import { SPLIT_UNSHARED } from '../virtio/split-unshared-code.ts';
import { SPLIT_SHARED, instantiateQueueModule } from '../virtio/wasm-module.ts';
import { QUEUE_SCRATCH_BYTES, WasmQueue } from '../virtio/wasm-queue.ts';
import { BouncePath } from './bounce-path.ts';
import type { DataPath, Transport } from './data-path.ts';
import { V86Device } from './v86-device.ts';
import { machineOf } from './v86-machine.ts';
import type { V86Emulator, V86Machine } from './v86-machine.ts';
import { whyUnshared } from './v86-shared-memory.ts';
import { ZeroCopyPath } from './v86-zero-copy.ts';

export { hdaBuffer, V86HdaBuffer } from './v86-hda.ts';
export type { HdaBufferOptions } from './v86-hda.ts';
export { sharedMemoryV86 } from './v86-shared-memory.ts';
export type {
  SharedMemoryOptions,
  SharedMemoryStats,
  SharedMemoryV86,
  WasmSource,
} from './v86-shared-memory.ts';
export type { Transport } from './data-path.ts';
export type { SavedDisk } from './saved-disk.ts';
export type { PollStats, SeenAt, V86Device, V86DeviceState, V86DeviceStats } from './v86-device.ts';
export type { VqMapping } from '../iothread/vq-mapping.ts';
export type { V86Emulator } from './v86-machine.ts';
export type { VirtioPciState } from '../virtio/virtio-pci.ts';
export type { SavedQueue } from '../virtio/virtio-pci-queues.ts';

/** Where a disk is plugged in, and how its data travel. */
export interface AttachVirtioBlkOptions {
  /** PCI slot; default: the first free one, 8 for the first disk. */
  readonly slot?: number;
  /** I/O port at first, a multiple of 256; default: the first free one from 0xd100. */
  readonly port?: number;
  /** Entries of a virtqueue, a power of two of 2 to 1024. Default 128. */
  readonly queueSize?: number;
  /** Virtqueues, 1 to 16. Default 1: v86 has one CPU. */
  readonly numQueues?: number;
  /**
   * Which IOThread serves which queues, as QEMU's option of that name: `[{ iothread, vqs: [0, 2] }, …]`.
   * The first one is the disk's own. Zero copy only, and only for disks that several threads may have
   * open: ENOTSUP else.
   */
  readonly iothreadVqMapping?: readonly VqMapping<IOThread>[];
  /**
   * `auto`, the default, is messages where the disk is reached by messages (`disk.transport`), else
   * zero copy where the emulator's memory is shared, else bounce.
   */
  readonly transport?: 'auto' | Transport;
}

/** Slots of the driver and pages of 64 KiB that hold the data of requests on the bounce path. */
const BOUNCE_QUEUE_SIZE = 256;
const BOUNCE_PAGES = 128;

/**
 * Attaches `disk` as /dev/vda (vdb, … for further ones). Waits until the emulator is loaded; it must
 * not run yet (`autostart: false`), since firmware and kernel look at the bus as they start. Throws
 * BlockError: ENOTSUP for a v86 or a transport that does not fit, EBUSY for a running emulator.
 */
export async function attachVirtioBlk(
  emulator: V86Emulator,
  disk: Disk,
  options: AttachVirtioBlkOptions = {},
): Promise<V86Device> {
  const { queueSize = 128, numQueues = 1, transport = 'auto' } = options;
  if (queueSize < 2 || queueSize > 1024 || (queueSize & (queueSize - 1)) !== 0) {
    throw new BlockError('EINVAL', `queueSize ${queueSize} is not a power of two of 2 to 1024`);
  }
  if (!(Number.isInteger(numQueues) && numQueues >= 1 && numQueues <= 16)) {
    throw new BlockError('EINVAL', `numQueues ${numQueues} is not within 1 and 16`);
  }
  const machine = await machineOf(emulator);
  if (emulator.is_running()) {
    throw new BlockError('EBUSY', 'attach the disk before the emulator runs: autostart: false');
  }
  const [chosen, reason] = chooseTransport(machine, disk, transport);
  if (options.iothreadVqMapping !== undefined && chosen !== 'zero-copy') {
    const message = `iothreadVqMapping needs the zero-copy transport, not ${chosen}: ${reason}`;
    throw new BlockError('ENOTSUP', message);
  }
  const path =
    chosen === 'zero-copy'
      ? await zeroCopyPath(machine, disk, numQueues, options.iothreadVqMapping)
      : await bouncePath(machine, disk, numQueues, chosen);
  try {
    return new V86Device({ ...options, machine, path, reason, disk, queueSize });
  } catch (error) {
    await path.remove();
    throw error;
  }
}

function chooseTransport(
  machine: V86Machine,
  disk: Disk,
  wanted: 'auto' | Transport,
): readonly [transport: Transport, reason: string] {
  if (disk.transport === 'messages') {
    const isolated = typeof SharedArrayBuffer !== 'undefined';
    const why = isolated ? 'the disk was opened so' : 'the page is not cross-origin isolated';
    if (wanted === 'auto' || wanted === 'messages') return ['messages', why];
    const message = `${wanted} needs a disk on shared memory; this one takes messages: ${why}`;
    throw new BlockError('ENOTSUP', message);
  }
  if (wanted === 'messages') {
    const message = "the disk is on shared memory: open it with { transport: 'messages' }";
    throw new BlockError('ENOTSUP', message);
  }
  if (wanted === 'bounce') return ['bounce', 'asked for'];
  if (machine.shared) return ['zero-copy', "the emulator's memory is shared"];
  const why = whyUnshared(machine.memory) ?? 'it was not started with sharedMemoryV86';
  const reason = `the emulator's memory is not shared: ${why}`;
  if (wanted === 'zero-copy') throw new BlockError('ENOTSUP', reason);
  return ['bounce', reason];
}

async function zeroCopyPath(
  machine: V86Machine,
  disk: Disk,
  numQueues: number,
  iothreadVqMapping: readonly VqMapping<IOThread>[] | undefined,
): Promise<DataPath> {
  const scratch = machine.reserve(numQueues * QUEUE_SCRATCH_BYTES);
  const { memory, ramBase, ramBytes } = machine;
  const device = await disk.attachDevice({
    memory,
    ramBase,
    ramBytes,
    scratch,
    everyKick: true,
    numQueues,
    ...(iothreadVqMapping === undefined ? {} : { iothreadVqMapping }),
  });
  return new ZeroCopyPath(machine, device);
}

let bounceDevices = 0;

async function bouncePath(
  machine: V86Machine,
  disk: Disk,
  numQueues: number,
  transport: 'bounce' | 'messages',
): Promise<DataPath> {
  const scratch = machine.reserve(numQueues * QUEUE_SCRATCH_BYTES);
  const code = isShared(machine.memory.buffer) ? SPLIT_SHARED : SPLIT_UNSHARED;
  const module = instantiateQueueModule(machine.memory, code);
  bounceDevices += 1;
  const { driver, device } = await connectDriver(disk.thread, {
    id: `${disk.rootNode}:bounce${bounceDevices}`,
    drive: disk.rootNode,
    queueSize: BOUNCE_QUEUE_SIZE,
    poolPages: BOUNCE_PAGES,
    serial: disk.serial,
  });
  const { ramBase, ramBytes: ramSize, cpu } = machine;
  return new BouncePath({
    guest: {
      get ram(): Uint8Array {
        return machine.ram;
      },
      written: (from, to) => cpu.jit_dirty_cache(from, to),
    },
    driver,
    device,
    transport,
    numQueues,
    newQueue: (q, config) => {
      const at = scratch + q * QUEUE_SCRATCH_BYTES;
      return new WasmQueue({ module, ramBase, ramSize, scratch: at, config });
    },
  });
}
