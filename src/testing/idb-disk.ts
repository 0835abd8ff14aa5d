// Disks of the idb driver on a database that obeys the test: what all tests of the driver open, read and
// write with.

import { IOVector } from '../base/io-vector.ts';
import type { Ret } from '../base/ret.ts';
import type { DriverState } from '../block/block-driver.ts';
import { idbDriver } from '../block/protocols/idb.ts';
import type { IdbDouble } from './idb-double.ts';
import { openContext } from './open-context.ts';
import type { TestOpenContext } from './open-context.ts';

/** Bytes. */
export const K = 1024;
/** Length of a record unless told otherwise, bytes. */
export const RECORD: number = 32 * K;
/** Options of a disk that is made. */
export const fresh: Readonly<Record<string, unknown>> = {
  database: 'd',
  create: true,
  size: '64M',
};

/** Opens a disk of `idb`. */
export async function open(
  idb: IdbDouble,
  raw: Record<string, unknown> = fresh,
  context: TestOpenContext = openContext(),
): Promise<DriverState> {
  const driver = idbDriver(idb);
  return driver.open(context, driver.parseOptions(raw));
}

/** The bytes, or what the driver answered instead. */
export async function read(
  state: DriverState,
  offset: number,
  bytes: number,
): Promise<Uint8Array | Ret> {
  const target = new Uint8Array(bytes).fill(0xdb);
  const ret = await state.preadv(offset, IOVector.of(target), 0);
  return ret < 0 ? ret : target;
}

/** Said of equal bytes, without a diff of them. */
export function same(actual: Uint8Array | Ret, expected: Uint8Array): boolean {
  return typeof actual !== 'number' && Buffer.compare(actual, expected) === 0;
}

/** As the driver answers. */
export function write(state: DriverState, offset: number, data: Uint8Array): Ret | Promise<Ret> {
  return state.pwritev!(offset, IOVector.of(data), 0);
}

/** So many bytes of one value. */
export function filled(bytes: number, value: number): Uint8Array {
  return new Uint8Array(bytes).fill(value);
}

type Failure = IdbDouble['failures'][number];

/** The first try, and the one after opening again. */
export function twice(failure: Failure): Failure[] {
  return [failure, failure];
}
