// The rows that say what a disk costs over its file: requests to a 256 MiB disk in OPFS, 32 at a time,
// raw and qcow2 (all allocated, tables cached), beside the bare host calls one after the other.

import { openDisk } from '../../index.ts';
import type { IOThread } from '../../index.ts';
import { deviceRow } from './device-row.ts';
import type { Sides } from './device-row.ts';
import { fill } from './fill.ts';
import { removeFile } from './opfs-files.ts';
import type { Row } from './row.ts';
import { startSyncHandle } from './workers.ts';
import { READ_4K, workloadName } from './workload.ts';
import type { Workload } from './workload.ts';

const DISK_BYTES = 256 * 1024 * 1024;
const DEPTH = 32;
const BASELINE_FILE = 'bench-baseline.img';
const RAW_FILE = 'bench-disk.img';
const QCOW2_FILE = 'bench-disk.qcow2';

const READ_64K: Workload = { op: 'read', bytes: 65536, order: 'random' };
/** Flushed as often as a guest's file system might: after 256 writes. */
const WRITE_4K: Workload = { op: 'write', bytes: 4096, order: 'random', flushEvery: 256 };
const WRITE_64K: Workload = { ...WRITE_4K, bytes: 65536 };

export const opfsRows: readonly Row[] = [
  rawRow(READ_4K, 0.8),
  rawRow({ ...READ_4K, order: 'sequential' }),
  rawRow(READ_64K),
  rawRow({ ...READ_64K, order: 'sequential' }),
  rawRow(WRITE_4K),
  rawRow({ ...WRITE_4K, order: 'sequential' }),
  rawRow(WRITE_64K),
  rawRow({ ...WRITE_64K, order: 'sequential' }),
  qcow2Row(READ_4K, 0.65),
  qcow2Row(READ_64K),
  qcow2Row(WRITE_4K),
  qcow2Row(WRITE_64K),
];

function rawRow(workload: Workload, ratio?: number): Row {
  return opfsRow('opfs-raw', workload, ratio, async (thread, fillRaw) => {
    await fillRaw();
    return thread.blockdevAdd({ driver: 'raw', file: { driver: 'opfs', path: RAW_FILE } });
  });
}

function qcow2Row(workload: Workload, ratio?: number): Row {
  return opfsRow('opfs-qcow2', workload, ratio, openQcow2);
}

type OpenDisk = (thread: IOThread, fillRaw: () => Promise<void>) => Promise<string>;

function opfsRow(disk: string, workload: Workload, ratio: number | undefined, open: OpenDisk): Row {
  return deviceRow({
    name: `${disk}/${workloadName(workload)}`,
    ...(ratio === undefined ? {} : { target: { ratio } }),
    workload,
    depth: DEPTH,
    diskBytes: DISK_BYTES,
    prepare: async (): Promise<Sides> => {
      const { control, terminate } = startSyncHandle();
      await control.fill(BASELINE_FILE, DISK_BYTES);
      await control.open(BASELINE_FILE, workload);
      return {
        open: (thread) => open(thread, () => control.fill(RAW_FILE, DISK_BYTES)),
        baseline: (ns) => control.run(ns),
        close: async () => {
          await control.close();
          terminate();
          for (const path of [BASELINE_FILE, RAW_FILE, QCOW2_FILE]) await removeFile(path);
        },
      };
    },
  });
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
