// Adds a device of our own and drives it: what the façade and the bounce transport submit through.
// Its ring lies in shared memory, or, where there is none, at the other end of a message port.

import type { PortDeviceOptions } from './control.ts';
import type { IOThread } from './iothread.ts';
import type { DeviceHandle } from './device-handle.ts';
import type { RequestDriver } from '../virtio/request-driver.ts';
import { VirtioBlkDriver } from '../virtio/virtio-blk-driver.ts';
import { QUEUE_SCRATCH_BYTES } from '../virtio/wasm-queue.ts';

const WASM_PAGE = 65536;

/** The caller removes `device` when it is done. */
export async function connectDriver(
  thread: IOThread,
  options: PortDeviceOptions,
): Promise<{ driver: RequestDriver; device: DeviceHandle }> {
  if (thread.transport === 'messages') return thread.portDeviceAdd(options);
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
