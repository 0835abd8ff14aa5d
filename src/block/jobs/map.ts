// `qemu-img map`: which layer holds what, from start to end, in as few entries as tell it. Bounded,
// however torn a disk is: where there would be too many entries, short runs are told together.

import { BlockError } from '../block-error.ts';
import type { BlockBackend } from '../block-backend.ts';
import { blockStatusAbove } from '../chain-status.ts';
import type { ChainStatus } from '../chain-status.ts';
import type { Job } from './job.ts';

/** A run of the disk, as `qemu-img map --output=json` tells it. */
export interface MapEntry {
  /** Where it begins, bytes. */
  readonly start: number;
  /** Bytes. */
  readonly length: number;
  /** Which layer defines it: 0 is the top image, 1 its backing image, and so on. */
  readonly depth: number;
  /** Some layer defines it; false where none does, and it reads as zeroes. */
  readonly present: boolean;
  /** It is known to read as zeroes. */
  readonly zero: boolean;
  /** Bytes are stored for it. */
  readonly data: boolean;
}

/** Entries that one answer has at most. */
export const MAX_MAP_ENTRIES = 65536;
/** The first unit when there are too many, bytes. */
const FIRST_UNIT = 64 * 1024;

/** Maps `[offset, offset + bytes)` of `source`. Throws BlockError, or the job's `signal.reason`. */
export async function mapDisk(
  source: BlockBackend,
  offset: number,
  bytes: number,
  job: Job,
): Promise<MapEntry[]> {
  const entries = new MapEntries(MAX_MAP_ENTRIES);
  const end = offset + bytes;
  for (let at = offset; at < end;) {
    await job.pace.breathe();
    const status = await job.wait(blockStatusAbove(source, at, end - at));
    if (typeof status === 'number') {
      throw BlockError.fromRet(status, `map of '${source.root?.name}' at ${at}`, source.root?.name);
    }
    entries.add(at, status);
    at += status.bytes;
  }
  return entries.list;
}

/** Runs one after the other, joined where they are alike or, once there are many, where they are short. */
export class MapEntries {
  readonly list: MapEntry[] = [];
  readonly #most: number;
  /** An entry shorter than this takes in what follows, bytes. */
  #unit = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** Adds the run that follows the last. */
  add(start: number, status: Pick<ChainStatus, 'bytes' | 'depth' | 'present' | 'zero'>): void {
    const { bytes: length, depth, present, zero } = status;
    this.#push({ start, length, depth, present, zero, data: present && !zero });
    if (this.list.length <= this.#most) return;
    // Halve them at least, so that this stays rare.
    while (this.list.length > this.#most / 2) {
      this.#unit = Math.max(2 * this.#unit, FIRST_UNIT);
      for (const entry of this.list.splice(0)) this.#push(entry);
    }
  }

  #push(entry: MapEntry): void {
    const last = this.list.at(-1);
    if (last !== undefined && (alike(last, entry) || last.length < this.#unit)) {
      this.list[this.list.length - 1] = join(last, entry);
    } else this.list.push(entry);
  }
}

function alike(a: MapEntry, b: MapEntry): boolean {
  return a.depth === b.depth && a.present === b.present && a.zero === b.zero && a.data === b.data;
}

/** Two entries as one, which promises no more than both do. */
function join(a: MapEntry, b: MapEntry): MapEntry {
  return {
    start: a.start,
    length: a.length + b.length,
    depth: Math.min(a.depth, b.depth),
    present: a.present || b.present,
    zero: a.zero && b.zero,
    data: a.data || b.data,
  };
}
