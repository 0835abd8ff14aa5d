// The opfs driver's disks in IndexedDB, and the checks that no disk is in two places or out of reach:
// loaded where there is such a disk, or can be none in OPFS. `opfs-fallback.ts` has the rule.

import type { BlockDriver, CreateContext, DriverState, OpenContext } from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import type { OpfsOptions } from './opfs.ts';
import { databaseOfPath } from './opfs-fallback.ts';
import type { FallbackRequest, IdbPlace } from './opfs-fallback.ts';
import { findStoredFile } from './opfs-stored-file.ts';

/** Opens the disk of that path in IndexedDB, and says so. */
export async function openInIdb(
  context: OpenContext,
  idb: IdbPlace,
  { path, create, size }: OpfsOptions,
  found: boolean,
): Promise<DriverState> {
  const database = databaseOfPath(path);
  const raw = { database, create, ...(size === undefined ? {} : { size }) };
  const driver = await idb.load();
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

/** Makes it there. */
export async function createInIdb(
  context: CreateContext,
  idb: IdbPlace,
  size: number,
  path: string,
): Promise<void> {
  const driver = await idb.load();
  await driver.create!(context, size, { database: databaseOfPath(path) });
}

/** Removes it from there. */
export async function removeFromIdb(
  context: Parameters<NonNullable<BlockDriver['remove']>>[0],
  request: FallbackRequest,
): Promise<void> {
  await mustBeOne(request);
  const driver = await request.idb.load();
  await driver.remove!(context, { database: databaseOfPath(request.path) });
}

/** Throws where OPFS has a disk of that path beside the one in IndexedDB. */
export async function mustBeOne({ environment, node, path }: FallbackRequest): Promise<void> {
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

/**
 * Throws where OPFS has data that cannot be reached for the `lack` that `open` or `create` told of. What
 * those made before they found out is removed.
 */
export async function mustBeNowhere(request: FallbackRequest, lack: unknown): Promise<void> {
  const { environment, node, path } = request;
  const file = await findStoredFile(environment, path);
  if (file === undefined || file.bytes === 0) {
    await file?.remove();
    return;
  }
  throw new BlockError(
    'ENOTSUP',
    `${node}: opfs path '${path}' holds data, and this browser has no synchronous access to files to ` +
      'reach them. Open it in a browser that has; no empty disk is put in its place',
    { node, cause: lack },
  );
}
