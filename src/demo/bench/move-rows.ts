// The rows that say how long a disk stands still when it moves to another IOThread, while four requests
// are kept in flight: the pause of each move, beside the time that closing the disk and opening it
// on the other thread takes. In milliseconds, so the ratio is the baseline's by ours.

import { openDisk, startIOThread } from '../../index.ts';
import type { BlockdevOptions, Disk, IOThread } from '../../index.ts';
import { fill } from './fill.ts';
import { removeFile } from './opfs-files.ts';
import type { Row } from './row.ts';
import { median, quantile } from './statistics.ts';

const DISK_BYTES = 16 * 1024 * 1024;
const FILE = 'bench-move.qcow2';
const QUEUE = 4;
const BLOCK = 4096;
/** In a round. */
const HOPS = 12;

export const moveRows: readonly Row[] = [
  moveRow('move/memory', { driver: 'memory', size: DISK_BYTES }),
  moveRow('move/opfs-qcow2', {
    driver: 'qcow2',
    size: DISK_BYTES,
    file: { driver: 'opfs', path: FILE, create: true },
  }),
];

function moveRow(name: string, what: BlockdevOptions): Row {
  return {
    name,
    async run({ rounds }) {
      const threads = await Promise.all(['left', 'right'].map((id) => startIOThread({ id })));
      try {
        const opening: number[] = [];
        const pauses: number[] = [];
        let requests = 0;
        for (let i = 0; i < rounds.count; i++) {
          rounds.signal?.throwIfAborted();
          opening.push(await reopen(threads, what));
          const moved = await moveUnderLoad(threads, what);
          pauses.push(...moved.pauses);
          requests += moved.requests;
        }
        const [value, baseline] = [median(pauses), median(opening)];
        const p99Us = Math.round(quantile(pauses, 0.99) * 1000);
        const counts = { requests, moves: pauses.length, p99Us };
        return { name, unit: 'ms', value, baseline, ratio: baseline / value, counts };
      } finally {
        await Promise.all(threads.map((thread) => thread.close()));
        await removeFile(FILE);
      }
    },
  };
}

/** How long it takes to close the disk on one thread and have it on the other, milliseconds. */
async function reopen(threads: readonly IOThread[], what: BlockdevOptions): Promise<number> {
  const before = await openFilled(threads[0]!, what);
  const start = performance.now();
  await before.close();
  const after = await openDisk(what, { thread: threads[1]! });
  const ms = performance.now() - start;
  await after.close();
  return ms;
}

async function moveUnderLoad(
  threads: readonly IOThread[],
  what: BlockdevOptions,
): Promise<{ pauses: number[]; requests: number }> {
  const disk = await openFilled(threads[0]!, what);
  const pauses: number[] = [];
  let requests = 0;
  let over = false;
  const load = Array.from({ length: QUEUE }, async (_, lane) => {
    const data = new Uint8Array(BLOCK).fill(lane + 1);
    for (let at = lane * BLOCK; !over; at = (at + QUEUE * BLOCK) % DISK_BYTES) {
      await disk.write(at, data);
      requests += 1;
    }
  });
  try {
    for (let hop = 1; hop <= HOPS; hop++) {
      pauses.push(await disk.moveTo(threads[hop % threads.length]!));
    }
  } finally {
    over = true;
    await Promise.all(load);
    await disk.close();
  }
  return { pauses, requests };
}

async function openFilled(thread: IOThread, what: BlockdevOptions): Promise<Disk> {
  const disk = await openDisk(what, { thread });
  await fill(DISK_BYTES, (at, chunk) => disk.write(at, chunk));
  await disk.flush();
  return disk;
}
