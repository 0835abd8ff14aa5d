// The rows that say what device and graph cost: 4 KiB reads of a null-co disk, which answers at once
// and moves no data, beside the same ring with nothing behind it.

import { DiskUnderTest, newGuestMemory } from './disk-under-test.ts';
import { GUEST_RAM_BYTES } from './guest.ts';
import type { Row } from './row.ts';
import { sideBySide } from './rounds.ts';
import { startBareRing, startGuest } from './workers.ts';
import { READ_4K } from './workload.ts';
import { DeviceChannel } from '../../virtio/device-channel.ts';
import { DOORBELL_WORDS } from '../../aio/event-notifier.ts';

const DISK_BYTES = 1024 ** 3;

export const queueRows: readonly Row[] = [
  nullRow(1),
  nullRow(32),
  nullRow(128, { ratio: 0.25, value: 1_000_000 }),
];

function nullRow(depth: number, target?: NonNullable<Row['target']>): Row {
  const name = `null-co/depth-${depth}`;
  return {
    name,
    ...(target === undefined ? {} : { target }),
    async run({ rounds }) {
      const disk = await DiskUnderTest.start(DISK_BYTES, (thread) =>
        thread.blockdevAdd({ driver: 'null-co', size: DISK_BYTES, 'read-zeroes': false }),
      );
      const guest = startGuest();
      const bare = {
        memory: newGuestMemory(),
        channel: new SharedArrayBuffer(DeviceChannel.bytes(1)),
        doorbell: new Int32Array(new SharedArrayBuffer(4 * DOORBELL_WORDS)),
      };
      const ours = await guest.control.attach(disk.guestDevice, READ_4K);
      const theirs = await guest.control.attach({ ...bare, diskBytes: DISK_BYTES }, READ_4K);
      const ring = await startBareRing({ ...bare, ramBytes: GUEST_RAM_BYTES });
      let guestSleeps = 0;
      try {
        const figures = await sideBySide(
          rounds,
          async (ns) => {
            const sample = await guest.control.run(ours, depth, ns);
            guestSleeps += sample.sleeps;
            return sample;
          },
          (ns) => guest.control.run(theirs, depth, ns),
          async () => {
            guestSleeps = 0;
            await disk.startCounting();
          },
        );
        const counts = { ...(await disk.counts()), guestSleeps };
        return { name, unit: 'IOPS', ...figures, counts };
      } finally {
        ring.terminate();
        guest.terminate();
        await disk.close();
      }
    },
  };
}
