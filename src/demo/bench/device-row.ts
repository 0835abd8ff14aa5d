// A row that drives a virtio-blk device over some disk beside a baseline that asks the host for the
// same things by itself: set-up, rounds by turns, counts, and everything put away again.

import type { IOThread } from '../../index.ts';
import { DiskUnderTest } from './disk-under-test.ts';
import { paced, sideBySide } from './rounds.ts';
import type { Measure } from './rounds.ts';
import type { Bench, Row } from './row.ts';
import { startGuest } from './workers.ts';
import type { Workload } from './workload.ts';

export interface DeviceRowOptions extends Omit<Row, 'run' | 'release'> {
  readonly workload: Workload;
  /** Requests in flight. */
  readonly depth: number;
  readonly diskBytes: number;
  /** How many times as long as usual the rounds are; default 1. */
  readonly pace?: number;
  readonly prepare: (bench: Bench) => Promise<Sides>;
}

/** Both sides, ready to go. */
export interface Sides {
  /** Opens the disk on a thread of its own; answers its node name. */
  open(thread: IOThread): Promise<string>;
  readonly baseline: Measure;
  /** Removes whatever was made; our disk is closed by then, if it was opened. */
  close(): Promise<void>;
}

export function deviceRow(options: DeviceRowOptions): Row {
  const { workload, depth, diskBytes, pace = 1, prepare, ...row } = options;
  return {
    ...row,
    async run(bench) {
      const sides = await prepare(bench);
      const guest = startGuest();
      let disk: DiskUnderTest | undefined;
      try {
        disk = await DiskUnderTest.start(diskBytes, (thread) => sides.open(thread));
        const device = await guest.control.attach(disk.guestDevice, workload);
        const counted = disk;
        const figures = await sideBySide(
          paced(bench.rounds, pace),
          (ns) => guest.control.run(device, depth, ns),
          (ns) => sides.baseline(ns),
          () => counted.startCounting(),
        );
        return { name: row.name, unit: 'IOPS', ...figures, counts: await counted.counts() };
      } finally {
        guest.terminate();
        await disk?.close();
        await sides.close();
      }
    },
  };
}
