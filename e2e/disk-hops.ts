// Moves the disk of guest-rig.ts between two IOThreads of their own, back to back, and tells how long it
// stood still each time. Runs in the page.

import { startIOThread } from '../src/index.ts';
import type { Disk, IOThread } from '../src/index.ts';

export interface HopOptions {
  /** Moves at least. */
  readonly hops: number;
  /** Goes on until this comes true as well. */
  readonly until: () => boolean;
}

const threads: IOThread[] = [];

/** Answers the pause of each move, milliseconds. The disk is at home on one of the two afterwards. */
export async function hop(disk: Disk, { hops, until }: HopOptions): Promise<number[]> {
  const ids = ['left', 'right'];
  if (threads.length === 0) {
    threads.push(...(await Promise.all(ids.map((id) => startIOThread({ id })))));
  }
  const pauses: number[] = [];
  while (pauses.length < hops || !until()) {
    pauses.push(await disk.moveTo(threads[pauses.length % threads.length]!));
  }
  return pauses;
}

/** Ends both. */
export async function endThreads(): Promise<void> {
  await Promise.all(threads.splice(0).map((thread) => thread.close()));
}
