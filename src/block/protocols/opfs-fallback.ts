// Where a disk of the opfs driver lies: in OPFS, or, where a browser has no sync access handles, in
// IndexedDB under a name made from its path. Where the data is, decides, so that no update of a browser
// puts an empty disk in the place of one: a disk in IndexedDB stays there when the browser gets sync
// access handles, and one in OPFS is never replaced when it has none. Only what is nowhere yet is made,
// in the best place there is.

import type { BlockDriver, DriverState } from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { OptionReader } from '../option-reader.ts';
import type { IdbOptions } from './idb.ts';
import type { OpfsOptions } from './opfs.ts';
import type { OpfsEnvironment } from './opfs-environment.ts';
import type * as OpfsInIdb from './opfs-in-idb.ts';

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
      // Where it was a moment ago, on another thread, it is.
      if (!options.fallback || context.carried !== undefined) return opfs.open(context, options);
      const { path } = options;
      const request = { environment, idb, node: context.nodeName, path };
      return choose<DriverState>(request, {
        inOpfs: () => opfs.open(context, options),
        inIdb: ({ openInIdb }, found) => openInIdb(context, idb, options, found),
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
          inIdb: ({ createInIdb }) => createInIdb(context, idb, size, path),
        },
      );
    },
    async remove(context, raw) {
      const { fallback, rest } = splitOptions(raw);
      const { path } = opfs.parseOptions({ path: rest['path'] });
      const request = { environment, idb, node: 'remove', path };
      if (!fallback || !(await isInIdb(request))) return opfs.remove!(context, rest);
      const { removeFromIdb } = await import('./opfs-in-idb.ts');
      await removeFromIdb(context, request);
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

/** Which disk, in which browser. */
export interface FallbackRequest {
  readonly environment: OpfsEnvironment;
  readonly idb: IdbPlace;
  readonly node: string;
  readonly path: string;
}

interface Ways<T> {
  inOpfs(): Promise<T>;
  /** `found`: it was there before. */
  inIdb(ways: typeof OpfsInIdb, found: boolean): Promise<T>;
}

/** The rule. What most pages do not need of it is in `opfs-in-idb.ts`. */
async function choose<T>(request: FallbackRequest, ways: Ways<T>): Promise<T> {
  const found = await isInIdb(request);
  let lack: unknown;
  if (!found) {
    try {
      return await ways.inOpfs();
    } catch (error) {
      if (!isLack(error)) throw error;
      lack = error;
    }
  }
  const inIdb = await import('./opfs-in-idb.ts');
  if (found) {
    await inIdb.mustBeOne(request);
    return ways.inIdb(inIdb, true);
  }
  await inIdb.mustBeNowhere(request, lack);
  try {
    return await ways.inIdb(inIdb, false);
  } catch (error) {
    // No IndexedDB either: OPFS is what was asked for.
    throw error instanceof BlockError && error.code === 'ENOTSUP' ? lack : error;
  }
}

async function isInIdb({ idb, node, path }: FallbackRequest): Promise<boolean> {
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
