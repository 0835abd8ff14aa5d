// Where a disk of the opfs driver lies: in OPFS, or, where a browser has no sync access handles, in
// IndexedDB under a name made from its path. Where the data is, decides, so that no update of a browser
// puts an empty disk in the place of one: a disk in IndexedDB stays there when the browser gets sync
// access handles, and one in OPFS is never replaced when it has none. Only what is nowhere yet is made,
// in the best place there is.

import type { BlockDriver, CreateContext, DriverState, OpenContext } from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { OptionReader } from '../option-reader.ts';
import type { IdbOptions } from './idb.ts';
import type { OpfsOptions } from './opfs.ts';
import type { OpfsEnvironment } from './opfs-environment.ts';
import { findStoredFile } from './opfs-stored-file.ts';

/** What is needed of IndexedDB. */
export interface IdbPlace {
  /** Whether there is such a database. */
  has(database: string): Promise<boolean>;
  load(): Promise<BlockDriver<IdbOptions>>;
}

export interface FallbackOptions extends OpfsOptions {
  /** False: in OPFS or nowhere. */
  readonly fallback: boolean;
}

/** The name of the database that stands in for an opfs path. */
export function databaseOfPath(path: string): string {
  return `opfs:${path}`;
}

/** `opfs`, with IndexedDB where that cannot be. */
export function withFallback(
  opfs: BlockDriver<OpfsOptions>,
  environment: OpfsEnvironment,
  idb: IdbPlace,
): BlockDriver<FallbackOptions> {
  return {
    ...opfs,
    parseOptions(raw) {
      const { fallback, rest } = splitOptions(raw);
      return { ...opfs.parseOptions(rest), fallback };
    },
    async open(context, options) {
      if (!options.fallback) return opfs.open(context, options);
      const { path } = options;
      const request = { environment, idb, node: context.nodeName, path };
      return choose<DriverState>(request, {
        inOpfs: () => opfs.open(context, options),
        inIdb: (driver, found) => openInIdb(context, driver, options, found),
      });
    },
    async create(context, size, raw) {
      const { fallback, rest } = splitOptions(raw);
      if (!fallback) return opfs.create!(context, size, rest);
      const { path } = opfs.parseOptions({ path: rest['path'] });
      await choose<void>(
        { environment, idb, node: 'create', path },
        {
          inOpfs: () => opfs.create!(context, size, rest),
          inIdb: (driver) => createInIdb(context, driver, size, path),
        },
      );
    },
    async remove(context, raw) {
      const { fallback, rest } = splitOptions(raw);
      const { path } = opfs.parseOptions({ path: rest['path'] });
      const request = { environment, idb, node: 'remove', path };
      if (!fallback || !(await isInIdb(request))) return opfs.remove!(context, rest);
      await mustBeOne(request);
      await (
        await idb.load()
      ).remove!(context, { database: databaseOfPath(path) });
    },
  };
}

function splitOptions(raw: Readonly<Record<string, unknown>>): {
  fallback: boolean;
  rest: Record<string, unknown>;
} {
  const { fallback: given, ...rest } = raw;
  return {
    fallback: new OptionReader('opfs', { fallback: given }).boolean('fallback') ?? true,
    rest,
  };
}

interface Request {
  readonly environment: OpfsEnvironment;
  readonly idb: IdbPlace;
  readonly node: string;
  readonly path: string;
}

interface Ways<T> {
  inOpfs(): Promise<T>;
  /** `found`: it was there before. */
  inIdb(driver: BlockDriver<IdbOptions>, found: boolean): Promise<T>;
}

/** The rule. */
async function choose<T>(request: Request, ways: Ways<T>): Promise<T> {
  const { environment, idb, path } = request;
  if (await isInIdb(request)) {
    await mustBeOne(request);
    return ways.inIdb(await idb.load(), true);
  }
  try {
    return await ways.inOpfs();
  } catch (lack) {
    if (!isLack(lack)) throw lack;
    const file = await findStoredFile(environment, path);
    if (file !== undefined && file.bytes > 0) throw outOfReach(request, lack);
    // What `inOpfs` made before it found out.
    await file?.remove();
    try {
      return await ways.inIdb(await idb.load(), false);
    } catch (error) {
      // No IndexedDB either: OPFS is what was asked for.
      throw error instanceof BlockError && error.code === 'ENOTSUP' ? lack : error;
    }
  }
}

async function isInIdb({ idb, node, path }: Request): Promise<boolean> {
  try {
    return await idb.has(databaseOfPath(path));
  } catch (cause) {
    const why = `cannot tell whether opfs path '${path}' is in IndexedDB: ${String(cause)}`;
    throw new BlockError('EIO', `${node}: ${why}. 'fallback': false does not ask`, { node, cause });
  }
}

/** No sync access handles, no OPFS at all, or a window that is denied it for as long as it lives. */
function isLack(error: unknown): boolean {
  if (!(error instanceof BlockError)) return false;
  const denied = error.cause instanceof Object && 'name' in error.cause && error.cause.name;
  return error.code === 'ENOTSUP' || (error.code === 'EACCES' && denied === 'SecurityError');
}

async function openInIdb(
  context: OpenContext,
  driver: BlockDriver<IdbOptions>,
  { path, create, size }: OpfsOptions,
  found: boolean,
): Promise<DriverState> {
  const database = databaseOfPath(path);
  const raw = { database, create, ...(size === undefined ? {} : { size }) };
  const state = await driver.open(context, driver.parseOptions(raw));
  context.notice(
    found
      ? `${context.nodeName}: opfs path '${path}' is in IndexedDB, database '${database}': it was made ` +
          'where there was no synchronous access to files, and stays there'
      : `${context.nodeName}: this browser has no synchronous access to files, so opfs path '${path}' ` +
          `was made in IndexedDB, database '${database}', and stays there`,
  );
  return state;
}

function createInIdb(
  context: CreateContext,
  driver: BlockDriver<IdbOptions>,
  size: number,
  path: string,
): Promise<void> {
  return driver.create!(context, size, { database: databaseOfPath(path) });
}

/** Throws where OPFS has a disk of that path beside the one in IndexedDB. */
async function mustBeOne({ environment, node, path }: Request): Promise<void> {
  const file = await findStoredFile(environment, path);
  if (file === undefined || file.bytes === 0) return;
  const database = databaseOfPath(path);
  throw new BlockError(
    'EEXIST',
    `${node}: there are two disks of opfs path '${path}', a file in OPFS and database '${database}' in ` +
      "IndexedDB. 'fallback': false opens the file, the idb driver the database; remove the one that " +
      'is not wanted',
    { node },
  );
}

function outOfReach({ node, path }: Request, cause: unknown): BlockError {
  return new BlockError(
    'ENOTSUP',
    `${node}: opfs path '${path}' holds data, and this browser has no synchronous access to files to ` +
      'reach them. Open it in a browser that has; no empty disk is put in its place',
    { node, cause },
  );
}
