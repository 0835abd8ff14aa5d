// The rows that say what a disk costs over its file: 4 KiB reads at random offsets, 32 at a time, of a
// 256 MiB disk in OPFS, raw and qcow2 (all allocated, tables cached), beside the bare host call.

import { openDisk } from '../../index.ts';
import type { IOThread } from '../../index.ts';
import { DiskUnderTest } from './disk-under-test.ts';
import { fill } from './fill.ts';
import { removeFile } from './opfs-files.ts';
import { sideBySide } from './rounds.ts';
import type { Row } from './row.ts';
import { startGuest, startSyncHandle } from './workers.ts';

const DISK_BYTES = 256 * 1024 * 1024;
const DEPTH = 32;
const BASELINE_FILE = 'bench-baseline.img';
const RAW_FILE = 'bench-disk.img';
const QCOW2_FILE = 'bench-disk.qcow2';

export const opfsRows: readonly Row[] = [
  opfsRow('opfs-raw/randread-4k', 0.8, (thread) =>
    thread.blockdevAdd({ driver: 'raw', file: { driver: 'opfs', path: RAW_FILE } }),
  ),
  opfsRow('opfs-qcow2/randread-4k', 0.65, openQcow2),
];

function opfsRow(name: string, ratio: number, open: (thread: IOThread) => Promise<string>): Row {
  return {
    name,
    target: { ratio },
    async run(rounds) {
      const baseline = startSyncHandle();
      const guest = startGuest();
      let disk: DiskUnderTest | undefined;
      try {
        await baseline.control.fill(BASELINE_FILE, DISK_BYTES);
        await baseline.control.fill(RAW_FILE, DISK_BYTES);
        await baseline.control.open(BASELINE_FILE);
        disk = await DiskUnderTest.start(DISK_BYTES, open);
        const device = await guest.control.attach(disk.guestDevice);
        const counted = disk;
        const figures = await sideBySide(
          rounds,
          (ns) => guest.control.run(device, DEPTH, ns),
          (ns) => baseline.control.run(ns),
          () => counted.startCounting(),
        );
        return { name, unit: 'IOPS', ...figures, counts: await counted.counts() };
      } finally {
        guest.terminate();
        await disk?.close();
        await baseline.control.close();
        baseline.terminate();
        for (const path of [BASELINE_FILE, RAW_FILE, QCOW2_FILE]) await removeFile(path);
      }
    },
  };
}

/** Makes the image and writes every cluster of it. */
async function openQcow2(thread: IOThread): Promise<string> {
  const file = { driver: 'opfs', path: QCOW2_FILE };
  const create = { ...file, create: true };
  await thread.blockdevCreate({ driver: 'qcow2', size: DISK_BYTES, file: create });
  const disk = await openDisk({ driver: 'qcow2', file }, { thread });
  await fill(DISK_BYTES, (at, chunk) => disk.write(at, chunk));
  await disk.flush();
  return disk.rootNode;
}
