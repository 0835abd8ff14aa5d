// Making and removing files of OPFS for `createDisk` and its like. A disk that is opened with `create`
// does without: that is `opfs.ts`.

import type { CreateContext } from '../block-driver.ts';
import { OptionReader } from '../option-reader.ts';
import { lock, parsePath, setUpFailure, take } from './opfs.ts';
import type { OpfsEnvironment } from './opfs-environment.ts';
import { busy } from './opfs-lock.ts';
import { opfsFailure } from './opfs-failure.ts';
import { findDirectory, nameOf } from './opfs-open.ts';
import type { OpfsOpenRequest } from './opfs-open.ts';

/** For createImage: the file, empty but `size` long, whatever it was before. */
export async function createFile(
  environment: OpfsEnvironment,
  context: CreateContext,
  size: number,
  raw: Readonly<Record<string, unknown>>,
): Promise<void> {
  const request = requestFor(environment, context, raw, true);
  const file = await take(environment, request);
  try {
    file.handle.truncate(0);
    file.handle.truncate(size);
    file.handle.flush();
    file.handle.close();
  } catch (cause) {
    file.handle.close();
    await removeEntry(request).catch(() => {});
    throw setUpFailure(request.nodeName, request.path, cause);
  } finally {
    file.release();
  }
}

/** Waits for the lock, so that the file of a disk that is open somewhere stays. */
export async function removeFile(
  environment: OpfsEnvironment,
  context: Omit<CreateContext, 'file'>,
  raw: Readonly<Record<string, unknown>>,
): Promise<void> {
  const request = requestFor(environment, context, raw, false);
  const release = await lock(environment, request);
  try {
    await removeEntry(request);
  } finally {
    release();
  }
}

function requestFor(
  environment: OpfsEnvironment,
  { aioContext, signal }: Omit<CreateContext, 'file'>,
  raw: Readonly<Record<string, unknown>>,
  create: boolean,
): OpfsOpenRequest {
  const reader = new OptionReader('opfs', raw);
  const path = parsePath(reader);
  reader.any('create');
  reader.any('size');
  reader.end();
  const nodeName = create ? 'create' : 'remove';
  return { environment, aioContext, nodeName, path, create, readOnly: false, signal };
}

/** Removes the file; its directories stay. Throws BlockError: EBUSY while a handle is open. */
async function removeEntry(request: OpfsOpenRequest): Promise<void> {
  try {
    const [directory, fileName] = await findDirectory(request);
    await directory.removeEntry(fileName);
  } catch (cause) {
    const { path, nodeName } = request;
    if (nameOf(cause) === 'NoModificationAllowedError') throw busy(path, nodeName, cause);
    throw opfsFailure(request, cause);
  }
}
