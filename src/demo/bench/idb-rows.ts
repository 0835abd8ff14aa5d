// The rows that say what a disk in IndexedDB costs over IndexedDB: reads at random of more than the
// cache holds, and writes with flushes, beside bare transactions of the same records, as many at a time
// and as durable.

import { createDisk, openDisk } from '../../index.ts';
import { deviceRow } from './device-row.ts';
import type { Sides } from './device-row.ts';
import { fill } from './fill.ts';
import type { Row } from './row.ts';
import { startIdb } from './workers.ts';
import { workloadName } from './workload.ts';
import type { Workload } from './workload.ts';

const DISK_BYTES = 64 * 1024 * 1024;
const RECORD_BYTES = 32 * 1024;
/** Records of one transaction, the driver's and the baseline's. */
const BATCH = 64;
const DATABASE = 'bench-disk';
const BASELINE_DATABASE = 'bench-baseline';
/** A transaction of 64 records takes 10 to 60 ms: more of them, for a steady figure. */
const PACE = 4;

const READ: Workload = { op: 'read', bytes: RECORD_BYTES, order: 'random' };
const WRITE: Workload = { ...READ, op: 'write' };

export const idbRows: readonly Row[] = [
  idbRow(READ, BATCH, ''),
  idbRow({ ...READ, bytes: 4096 }, 1, '/depth-1'),
  // A strict transaction for each batch; then strict ones after many relaxed ones.
  idbRow({ ...WRITE, flushEvery: BATCH }, BATCH, `/flush-${BATCH}`),
  idbRow({ ...WRITE, flushEvery: 16 * BATCH }, BATCH, `/flush-${16 * BATCH}`),
];

function idbRow(workload: Workload, depth: number, variant: string): Row {
  // The least there is, for reads: as few as possible should be answered from memory.
  const cache = workload.op === 'read' ? { 'cache-size': '4M' } : {};
  return deviceRow({
    name: `idb/${workloadName(workload)}${variant}`,
    target: { ratio: 0.8 },
    workload,
    depth,
    diskBytes: DISK_BYTES,
    pace: PACE,
    prepare: async (): Promise<Sides> => {
      const { control, terminate } = startIdb();
      await control.fill(BASELINE_DATABASE, DISK_BYTES);
      await control.open(workload);
      await fillDisk();
      return {
        open: (thread) =>
          thread.blockdevAdd({
            driver: 'raw',
            file: { driver: 'idb', database: DATABASE, ...cache },
          }),
        baseline: (ns) => control.run(depth, ns),
        close: async () => {
          await control.close();
          terminate();
          for (const database of [DATABASE, BASELINE_DATABASE]) await deleteDatabase(database);
        },
      };
    },
  });
}

async function fillDisk(): Promise<void> {
  const file = { driver: 'idb', database: DATABASE };
  await createDisk({ driver: 'raw', size: DISK_BYTES, file });
  const disk = await openDisk({ driver: 'raw', file });
  try {
    await fill(DISK_BYTES, (at, chunk) => disk.write(at, chunk));
  } finally {
    await disk.close();
  }
}

function deleteDatabase(name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = (): void => resolve();
    request.onerror = (): void => reject(request.error ?? new Error(`cannot delete ${name}`));
  });
}
