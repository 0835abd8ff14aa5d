// The device that a `Disk` reaches its own graph through, beside those of guests.

import { DiskRequests } from './disk-requests.ts';
import { connectDriver } from './iothread/connect-driver.ts';
import type { IOThread } from './iothread/iothread.ts';

const OWN_DEVICE = { queueSize: 128, poolPages: 64 };

/** Adds it for `drive`, the graph's root; off, `writeCache` makes every write durable before its answer. */
export async function connectOwnDevice(
  thread: IOThread,
  drive: string,
  serial: string,
  writeCache: boolean,
): Promise<DiskRequests> {
  const setup = { id: `disk:${drive}`, drive, serial, ...OWN_DEVICE };
  const { driver, device } = await connectDriver(thread, setup);
  device.channel.setWriteCache(writeCache);
  return new DiskRequests(driver, device, drive);
}
