// Makes a memory of our own, adds a device over it, and drives it: what the façade and the bounce
// transport submit through.

import type { IOThread } from './iothread.ts';
import type { DeviceHandle } from './device-handle.ts';
import type { RequestDriver } from '../virtio/request-driver.ts';
import { VirtioBlkDriver } from '../virtio/virtio-blk-driver.ts';
import { QUEUE_SCRATCH_BYTES } from '../virtio/wasm-queue.ts';

const WASM_PAGE = 65536;

export interface ConnectOptions {
  /** Device id, unique in the thread. */
  readonly id: string;
  /** Node name of the disk. */
  readonly drive: string;
  /** Requests in flight at most; a power of two. */
  readonly queueSize: number;
  /** Pages of 64 KiB for the data of requests in flight; at least 16. */
  readonly poolPages: number;
  readonly serial?: string;
}

/** The caller removes `device` when it is done. */
export async function connectDriver(
  thread: IOThread,
  options: ConnectOptions,
): Promise<{ driver: RequestDriver; device: DeviceHandle }> {
  const layout = VirtioBlkDriver.layout(options.queueSize, options.poolPages);
  const pages = Math.ceil((layout.ramBytes + QUEUE_SCRATCH_BYTES) / WASM_PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const device = await thread.deviceAdd({
    id: options.id,
    drive: options.drive,
    memory,
    ramBase: 0,
    ramBytes: layout.ramBytes,
    scratch: layout.ramBytes,
    numQueues: 1,
    ...(options.serial === undefined ? {} : { serial: options.serial }),
  });
  const driver = new VirtioBlkDriver({
    memory: new Uint8Array(memory.buffer, 0, layout.ramBytes),
    layout,
    channel: device.channel,
    ring: () => device.kick(0),
  });
  return { driver, device };
}
