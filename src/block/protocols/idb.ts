// The idb driver: a disk as a database of its own in IndexedDB, for places without sync access
// handles. Records of 32 KiB by number, and a header. One writer per database: a Web Lock.

import { EIO, ENOSPC, errorCode } from '../../base/ret.ts';
import type { AioContext } from '../../aio/aio-context.ts';
import type { BlockDriver, CreateContext, DriverState, OpenContext } from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { OptionReader } from '../option-reader.ts';
import { IdbConnection, removeDatabase } from './idb-connection.ts';
import type { IdbConnectionParts } from './idb-connection.ts';
import { browserIdb } from './idb-environment.ts';
import type { IdbEnvironment } from './idb-environment.ts';
import {
  HEADER_KEY,
  MAX_RECORD,
  MIN_RECORD,
  encodeHeader,
  isRecordSize,
  parseHeader,
} from './idb-header.ts';
import type { IdbHeader } from './idb-header.ts';
import { IdbState } from './idb-state.ts';
import { lockOpfsPath } from './opfs-lock.ts';

export interface IdbOptions {
  /** Of the IndexedDB database. */
  readonly database: string;
  /** Makes the disk where it is missing. */
  readonly create: boolean;
  /** Length of a disk that is made now (or was made with none), bytes. */
  readonly size: number | undefined;
  /** Of a disk that is made now, bytes. */
  readonly recordSize: number | undefined;
  /** Memory for records, bytes; half of it for those not stored yet. */
  readonly cacheSize: number;
}

/** Browsers keep values from 64 KiB on in files of their own, which costs more for each. */
const RECORD_SIZE = 32 * 1024;
const CACHE_SIZE = 16 * 1024 * 1024;
const MIN_CACHE = 4 * 1024 * 1024;
const MAX_CACHE = 1024 * 1024 * 1024;

/** The driver over a given browser. */
export function idbDriver(environment: IdbEnvironment): BlockDriver<IdbOptions> {
  return {
    name: 'idb',
    kind: 'protocol',
    parseOptions,
    reopenable: ['cache-size'],
    open: (context, options) => openDisk(environment, context, options),
    create: (context, size, raw) => createDisk(environment, context, size, raw),
    remove: (context, raw) => removeDisk(environment, context, raw),
  };
}

export const driver: BlockDriver<IdbOptions> = idbDriver(browserIdb);

function parseOptions(raw: Readonly<Record<string, unknown>>): IdbOptions {
  const reader = new OptionReader('idb', raw);
  const database = parseName(reader);
  const create = reader.boolean('create') ?? false;
  const size = reader.size('size');
  if (size !== undefined && !create) throw reader.bad('size', "given together with 'create'");
  const recordSize = parseRecordSize(reader);
  const cacheSize = reader.size('cache-size', MIN_CACHE, MAX_CACHE) ?? CACHE_SIZE;
  reader.end();
  return { database, create, size, recordSize, cacheSize };
}

/** `database`, or `name`, which is the same. */
function parseName(reader: OptionReader): string {
  const database = reader.string('database');
  const name = reader.string('name');
  if (database !== undefined && name !== undefined && name !== database) {
    throw reader.bad('name', "absent where 'database' is given");
  }
  const given = database ?? name;
  if (given === undefined) throw reader.bad('database', 'given');
  return given;
}

function parseRecordSize(reader: OptionReader): number | undefined {
  const recordSize = reader.size('record-size', MIN_RECORD, MAX_RECORD);
  if (recordSize === undefined || isRecordSize(recordSize)) return recordSize;
  throw reader.bad('record-size', 'a power of two from 4K to 1M');
}

/** Waits for the lock, so that a disk that is open somewhere stays. */
async function removeDisk(
  environment: IdbEnvironment,
  { aioContext, signal }: Omit<CreateContext, 'file'>,
  raw: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { database } = parseCreateOptions(raw);
  const parts = { environment, aioContext, nodeName: 'remove', database, notice: () => {} };
  // Deleting says nothing of what was there: only a disk of ours is deleted.
  const disk = await take({ ...parts, readOnly: false, signal, fresh: undefined, anew: false });
  disk.connection.close();
  try {
    await removeDatabase(parts);
  } finally {
    disk.release();
  }
}

function parseCreateOptions(
  raw: Readonly<Record<string, unknown>>,
): Pick<IdbOptions, 'database' | 'recordSize'> {
  const reader = new OptionReader('idb', raw);
  const database = parseName(reader);
  const recordSize = parseRecordSize(reader);
  for (const key of ['create', 'size', 'cache-size']) reader.any(key);
  reader.end();
  return { database, recordSize };
}

interface TakenDisk {
  readonly connection: IdbConnection;
  readonly header: IdbHeader;
  readonly locked: boolean;
  readonly release: () => void;
}

interface TakeRequest extends IdbConnectionParts {
  readonly readOnly: boolean;
  /** Takes no lock. */
  readonly forceShare?: boolean | undefined;
  /** See `OpenContext`. */
  readonly takesOver?: boolean | undefined;
  readonly signal: AbortSignal | undefined;
  /** What to make where there is no disk. */
  readonly fresh: IdbHeader | undefined;
  /** Empties a disk that is there. */
  readonly anew: boolean;
}

async function openDisk(
  environment: IdbEnvironment,
  context: OpenContext,
  options: IdbOptions,
): Promise<DriverState> {
  const { nodeName, flags, aioContext, signal, takesOver } = context;
  const { database, create } = options;
  const cacheSize = flags.direct === true ? MIN_CACHE : options.cacheSize;
  const { readOnly, forceShare } = flags;
  if (readOnly && create) {
    const message = `${nodeName}: idb database '${database}' cannot be created read-only`;
    throw new BlockError('EINVAL', message, { node: nodeName });
  }
  const fresh = create ? newHeader(aioContext, options.size ?? 0, options.recordSize) : undefined;
  const notice = (message: string): void => context.notice(message);
  const parts = { environment, aioContext, nodeName, database, notice };
  const taken = { ...parts, readOnly, forceShare, takesOver, signal, fresh, anew: false };
  const disk = await take(taken);
  const { connection, header, locked, release } = disk;
  if (options.recordSize !== undefined && options.recordSize !== header.recordSize) {
    notice(
      `${nodeName}: idb database '${database}' has records of ${header.recordSize} bytes since it ` +
        `was made; 'record-size' ${options.recordSize} is for new ones`,
    );
  }
  const state = { ...parts, connection, header, cacheSize, readOnly, locked, release };
  const opened = new IdbState(state);
  if (options.size !== undefined && header.length === 0) await opened.truncate(options.size);
  return opened;
}

/** For createImage: a disk of `size` zeroes, whatever it was before. */
async function createDisk(
  environment: IdbEnvironment,
  context: CreateContext,
  size: number,
  raw: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { database, recordSize } = parseCreateOptions(raw);
  const { aioContext, signal } = context;
  const parts = { environment, aioContext, nodeName: 'create', database, notice: () => {} };
  const fresh = newHeader(aioContext, size, recordSize);
  const disk = await take({ ...parts, readOnly: false, signal, fresh, anew: true });
  disk.connection.close();
  disk.release();
}

/** Lock, then database; neither when either fails. */
async function take(request: TakeRequest): Promise<TakenDisk> {
  const { environment, database, nodeName, signal, fresh } = request;
  const locks = request.forceShare === true ? undefined : environment.locks();
  const lock = { ...request, path: database, what: 'idb database' as const };
  const take = async (): Promise<() => void> =>
    locks === undefined
      ? (): void => {}
      : lockOpfsPath({ ...lock, locks, shared: request.readOnly });
  // One that was left to this thread is taken last: until then, it keeps others out where it is.
  let release = request.takesOver === true ? undefined : await take();
  const connection = new IdbConnection(request);
  try {
    let stored = await connection.open(fresh);
    const emptied = stored === undefined && fresh !== undefined;
    if (fresh !== undefined && (request.anew || emptied)) {
      // Refuses what is somebody else's.
      if (!emptied) parseHeader(stored, database, nodeName);
      await makeAnew(connection, fresh);
      stored = encodeHeader(fresh);
    }
    const header = parseHeader(stored, database, nodeName);
    connection.pin(header.id);
    if (signal?.aborted === true) throw aborted(nodeName, database, signal);
    release ??= await take();
    return { connection, header, locked: locks !== undefined, release };
  } catch (cause) {
    connection.close();
    release?.();
    if (cause instanceof BlockError) throw cause;
    const full = cause instanceof Object && 'name' in cause && cause.name === 'QuotaExceededError';
    throw new BlockError(
      errorCode(-(full ? ENOSPC : EIO)),
      `${nodeName}: cannot open idb database '${database}': ${String(cause)}`,
      { node: nodeName, cause },
    );
  }
}

function makeAnew(connection: IdbConnection, header: IdbHeader): Promise<void> {
  return connection.run('readwrite', 'strict', async (store) => {
    store.clear();
    store.put(encodeHeader(header), HEADER_KEY);
  });
}

function newHeader(
  context: AioContext,
  length: number,
  recordSize: number = RECORD_SIZE,
): IdbHeader {
  const word = (): string =>
    Math.floor(context.random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  return { id: word() + word(), recordSize, length, generation: 0 };
}

function aborted(node: string, database: string, signal: AbortSignal): BlockError {
  const message = `${node}: opening idb database '${database}' was canceled`;
  return new BlockError('ECANCELED', message, { node, cause: signal.reason });
}
