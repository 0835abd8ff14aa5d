// The rows that say what a disk behind HTTP costs over `fetch`: reads of 64 KiB, six at a time, of an
// image too large for the cache, from a server that answers at once, or 20 or 50 ms later, beside plain
// requests for the same ranges, as many at a time.

import { deviceRow } from './device-row.ts';
import type { Sides } from './device-row.ts';
import { IMAGE_BYTES } from './row.ts';
import type { Row } from './row.ts';
import { startFetch } from './workers.ts';
import { workloadName } from './workload.ts';
import type { Workload } from './workload.ts';

/** The driver's chunk: what it fetches for a read of 64 KiB is what was asked for. */
const CHUNK_BYTES = 65536;
/** What browsers allow to one host. */
const DEPTH = 6;
const DELAYS_MS = [0, 20, 50];
/** Requests take some milliseconds each, and the delay. */
const PACE = 6;

export const httpRows: readonly Row[] = (['random', 'sequential'] as const).flatMap((order) =>
  DELAYS_MS.map((delayMs) => httpRow({ op: 'read', bytes: CHUNK_BYTES, order }, delayMs)),
);

function httpRow(workload: Workload, delayMs: number): Row {
  return deviceRow({
    name: `http/${workloadName(workload)}/${delayMs}ms`,
    target: { ratio: 0.9 },
    needs: ['image'],
    workload,
    depth: DEPTH,
    diskBytes: IMAGE_BYTES,
    pace: PACE,
    prepare: async ({ places }): Promise<Sides> => {
      const url = `${places.image}?delay=${delayMs}`;
      const { control, terminate } = startFetch();
      await control.open(url, IMAGE_BYTES, workload);
      return {
        open: (thread) =>
          thread.blockdevAdd({
            driver: 'raw',
            'read-only': true,
            file: { driver: 'http', url, 'cache-size': '4M' },
          }),
        baseline: (ns) => control.run(DEPTH, ns),
        close: async () => {
          terminate();
        },
      };
    },
  });
}
