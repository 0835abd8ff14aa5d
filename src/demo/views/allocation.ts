// From a disk's map to the cells of a picture: how much of each cell the top image holds itself, as
// data or as zeroes. Pure; takes time for the runs and the cells, however large the disk.

import type { MapEntry } from '../../index.ts';

/** A picture of a disk: cells of the same size, in order. */
export interface Allocation {
  /** Bytes of one cell; the last may be cut short. */
  readonly cellBytes: number;
  /** Bytes of the top image in each cell that hold data. */
  readonly data: Float64Array;
  /** Bytes in each cell that the top image says are zero. */
  readonly zero: Float64Array;
  /** Sums, and runs of data or zeroes in the top image; bytes. */
  readonly dataBytes: number;
  readonly zeroBytes: number;
  readonly runs: number;
}

/** Cells are at least this large: what images allocate by, bytes. */
const LEAST_CELL = 64 * 1024;

/** Draws `map`, the whole of a disk of `length` bytes, with `most` cells at most. */
export function allocationOf(map: readonly MapEntry[], length: number, most: number): Allocation {
  const cellBytes = Math.max(LEAST_CELL, Math.ceil(length / most));
  const count = Math.ceil(length / cellBytes);
  const data = new Float64Array(count);
  const zero = new Float64Array(count);
  let dataBytes = 0;
  let zeroBytes = 0;
  let runs = 0;
  let lastEnd = -1;
  for (const entry of map) {
    // What another layer defines is not the top image's.
    if (entry.depth !== 0 || !entry.present) continue;
    if (entry.start !== lastEnd) runs += 1;
    lastEnd = entry.start + entry.length;
    if (entry.zero) zeroBytes += entry.length;
    else dataBytes += entry.length;
    spread(entry, cellBytes, entry.zero ? zero : data);
  }
  return { cellBytes, data, zero, dataBytes, zeroBytes, runs };
}

/** Adds a run to the cells that it lies in. */
function spread({ start, length }: MapEntry, cellBytes: number, cells: Float64Array): void {
  const end = Math.min(start + length, cells.length * cellBytes);
  for (let at = start; at < end;) {
    const cell = Math.floor(at / cellBytes);
    const stop = Math.min((cell + 1) * cellBytes, end);
    cells[cell]! += stop - at;
    at = stop;
  }
}
