// Which disk a saved state of a machine goes with. The guest's memory holds part of the file system: on
// another version of the disk it would write over what it does not know, so it is not let near one.

import { BlockError } from '../block/block-error.ts';
import type { Disk } from '../disk.ts';

/** A disk as it was when a state was saved. Plain data. */
export interface SavedDisk {
  /** Of the disk: for messages, not compared. */
  readonly serial: string;
  /** See `Disk.generation`. */
  readonly generation: string;
  /** Bytes. */
  readonly length: number;
}

/** What adapters need of a disk for this. */
export type StatefulDisk = Pick<Disk, 'serial' | 'length' | 'generation'>;

/** The disk as it is now. The first change afterwards makes it another one. Throws BlockError. */
export async function saveDisk(disk: StatefulDisk): Promise<SavedDisk> {
  const generation = await disk.generation();
  return { serial: disk.serial, generation, length: disk.length };
}

/** Throws BlockError('ESTALE') where a state saved with `saved` does not fit the disk `now`. */
export function checkSavedDisk(saved: SavedDisk, now: SavedDisk): void {
  if (saved.generation === now.generation && saved.length === now.length) return;
  const said = ({ serial, generation, length }: SavedDisk): string =>
    `'${serial}' of ${length} bytes, generation ${generation}`;
  const lost = saved.generation.startsWith('open-')
    ? '. The disk had nowhere to keep its generation: a qcow2 overlay keeps one'
    : '';
  throw new BlockError(
    'ESTALE',
    `the saved state goes with the disk ${said(saved)}; the disk is ${said(now)}: it is another one, or ` +
      'was written to since. Put the copy of the disk back that was kept with the state, or boot instead' +
      lost,
  );
}
