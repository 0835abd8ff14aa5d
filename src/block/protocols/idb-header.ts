// The header of a disk in IndexedDB: one record beside the data, made in the transaction that makes
// the database. It is also the marker that tells a disk from a database that the browser threw away
// and that came back empty.

import { BlockError } from '../block-error.ts';

/** The key of the header; data records have their number as key. */
export const HEADER_KEY = 'header';
const FORMAT = 'diskplane-disk';

/** Bytes of one record, least and most; a power of two. */
export const MIN_RECORD = 4096;
export const MAX_RECORD: number = 1024 * 1024;

export interface IdbHeader {
  /** Of this disk, made with it: a database of the same name made later has another. */
  readonly id: string;
  /** Bytes. */
  readonly recordSize: number;
  /** Bytes. */
  readonly length: number;
  /** Transactions so far that changed something: with `id` it names the contents. */
  readonly generation: number;
}

export function isRecordSize(bytes: number): boolean {
  return bytes >= MIN_RECORD && bytes <= MAX_RECORD && Number.isInteger(Math.log2(bytes));
}

/** As stored. */
export function encodeHeader(header: IdbHeader): Record<string, unknown> {
  return { format: FORMAT, version: 1, ...header };
}

/**
 * Checks a stored header. Throws BlockError: ESTALE where there is none, EINVAL where it is not one of
 * ours.
 */
export function parseHeader(value: unknown, database: string, node: string): IdbHeader {
  if (value === undefined) {
    throw new BlockError(
      'ESTALE',
      `${node}: idb database '${database}' is there, but its disk is gone: the browser made it anew, ` +
        "or something emptied it. 'create' makes an empty disk in it",
      { node },
    );
  }
  const fields = (typeof value === 'object' && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  const { format, version, id, recordSize, length, generation } = fields;
  const bad = (what: string): BlockError =>
    new BlockError('EINVAL', `${node}: idb database '${database}': ${what}`, { node });
  if (format !== FORMAT) throw bad('it holds something else than a disk');
  if (version !== 1) throw bad(`header version ${String(version)} is not 1`);
  if (typeof id !== 'string' || id === '') throw bad('the header has no id');
  if (typeof recordSize !== 'number' || !isRecordSize(recordSize)) {
    throw bad(`record size ${String(recordSize)} is no power of two from 4K to 1M`);
  }
  if (!isCount(length)) throw bad(`length ${String(length)} is no number of bytes`);
  if (!isCount(generation)) throw bad(`generation ${String(generation)} is no count`);
  return { id, recordSize, length, generation };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
