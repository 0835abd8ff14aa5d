// The row that says what a second IOThread brings, or costs where there are no CPUs for it: two null-co
// disks, each with a guest on a thread of its own, served by one IOThread each, beside both by one.

import { openDisk, startIOThread } from '../../index.ts';
import type { IOThread } from '../../index.ts';
import type { VqMapping } from '../../iothread/vq-mapping.ts';
import { newGuestMemory } from './disk-under-test.ts';
import { GUEST_RAM_BYTES } from './guest.ts';
import type { GuestDevice } from './guest.ts';
import { sideBySide } from './rounds.ts';
import type { Measure } from './rounds.ts';
import type { Row } from './row.ts';
import { startGuest } from './workers.ts';
import type { Started } from './workers.ts';
import type { GuestControl } from './guest-worker.ts';
import { READ_4K } from './workload.ts';

const DISK_BYTES = 1024 ** 3;
const DEPTH = 32;

export const iothreadRows: readonly Row[] = [twoDisksRow(), twoQueuesRow()];

function twoDisksRow(): Row {
  const name = 'iothreads/two-disks-on-two';
  return {
    name,
    async run({ rounds }) {
      const guests = [startGuest(), startGuest()];
      const threads = await Promise.all(['one', 'two'].map((id) => startIOThread({ id })));
      try {
        const apart = await pair(guests, [threads[0]!, threads[1]!]);
        const together = await pair(guests, [threads[0]!, threads[0]!]);
        const figures = await sideBySide(rounds, apart.measure, together.measure);
        const requests = { requests: apart.requests(), baselineRequests: together.requests() };
        await Promise.all([apart.close(), together.close()]);
        return { name, unit: 'IOPS', ...figures, counts: requests };
      } finally {
        for (const guest of guests) guest.terminate();
        await Promise.all(threads.map((thread) => thread.close()));
      }
    },
  };
}

/** One device with two queues, driven by one guest: each on an IOThread of its own, beside both on one. */
function twoQueuesRow(): Row {
  const name = 'iothreads/two-queues-on-two';
  return {
    name,
    async run({ rounds }) {
      const guest = startGuest();
      const threads = await Promise.all(['one', 'two'].map((id) => startIOThread({ id })));
      const [one, two] = [threads[0]!, threads[1]!];
      try {
        const apart = await newDisk(one, [{ iothread: one }, { iothread: two }]);
        const together = await newDisk(one, [{ iothread: one }]);
        const ours = await guest.control.attach(apart.device, READ_4K);
        const theirs = await guest.control.attach(together.device, READ_4K);
        let requests = 0;
        const figures = await sideBySide(
          rounds,
          async (ns) => {
            const sample = await guest.control.run(ours, 2 * DEPTH, ns);
            requests += sample.requests;
            return sample;
          },
          (ns) => guest.control.run(theirs, 2 * DEPTH, ns),
        );
        await apart.close();
        await together.close();
        return { name, unit: 'IOPS', ...figures, counts: { requests } };
      } finally {
        guest.terminate();
        await Promise.all(threads.map((thread) => thread.close()));
      }
    },
  };
}

interface Pair {
  readonly measure: Measure;
  readonly requests: () => number;
  readonly close: () => Promise<void>;
}

/** A disk for each guest, on the thread of the same index. */
async function pair(
  guests: readonly Started<GuestControl>[],
  threads: readonly IOThread[],
): Promise<Pair> {
  const disks: DrivenDisk[] = [];
  const numbers: number[] = [];
  let requests = 0;
  for (const [i, guest] of guests.entries()) {
    const disk = await newDisk(threads[i]!);
    disks.push(disk);
    numbers.push(await guest.control.attach(disk.device, READ_4K));
  }
  const measure: Measure = async (ns) => {
    const samples = await Promise.all(
      guests.map(({ control }, i) => control.run(numbers[i]!, DEPTH, ns)),
    );
    const sum = samples.reduce((total, sample) => total + sample.requests, 0);
    requests += sum;
    return { requests: sum, ns: Math.max(...samples.map((sample) => sample.ns)) };
  };
  const close = async (): Promise<void> => {
    for (const disk of disks) await disk.close();
  };
  return { measure, requests: () => requests, close };
}

interface DrivenDisk {
  readonly device: GuestDevice;
  close(): Promise<void>;
}

/** With a `mapping` the device has two queues. */
async function newDisk(
  thread: IOThread,
  mapping?: readonly VqMapping<IOThread>[],
): Promise<DrivenDisk> {
  const what = { driver: 'null-co', size: DISK_BYTES, 'read-zeroes': false };
  const disk = await openDisk(what, { thread });
  const memory = newGuestMemory();
  const handle = await disk.attachDevice({
    memory,
    ramBase: 0,
    ramBytes: GUEST_RAM_BYTES,
    scratch: GUEST_RAM_BYTES,
    numQueues: mapping === undefined ? 1 : 2,
    ...(mapping === undefined ? {} : { iothreadVqMapping: mapping }),
  });
  const device = {
    memory,
    channel: handle.channel.words.buffer as SharedArrayBuffer,
    doorbell: handle.doorbell()!, // of a thread on shared memory
    ...(mapping === undefined ? {} : { secondDoorbell: handle.doorbell(1)! }),
    diskBytes: DISK_BYTES,
  };
  const close = async (): Promise<void> => {
    await handle.remove();
    await disk.close();
  };
  return { device, close };
}
