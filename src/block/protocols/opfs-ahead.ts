// Opens a file in OPFS on the thread that its disk is about to move to, while it is still open on the other: in
// Chromium, where several handles may be. The lock of a writer stays with that thread until the disk is here;
// readers can have it together. Loaded for moves.

import type { OpenContext } from '../block-driver.ts';
import { lock } from './opfs.ts';
import type { OpfsOptions } from './opfs.ts';
import type { OpfsEnvironment } from './opfs-environment.ts';
import { findOpfsFile, openOpfsHandle } from './opfs-open.ts';
import type { OpfsAhead } from './opfs-open.ts';

/** Throws BlockError. */
export async function openAhead(
  environment: OpfsEnvironment,
  { nodeName, aioContext, flags }: Pick<OpenContext, 'nodeName' | 'aioContext' | 'flags'>,
  { path }: OpfsOptions,
): Promise<OpfsAhead> {
  const { readOnly, forceShare } = flags;
  const request = {
    environment, aioContext, nodeName, path, create: false, readOnly, forceShare, signal: undefined,
  }; // prettier-ignore
  const release = readOnly ? await lock(environment, request) : undefined;
  try {
    const file = await findOpfsFile(request);
    const handle = await openOpfsHandle(request, file);
    const close = (): void => {
      handle.close();
      release?.();
    };
    return { file, handle, release, close };
  } catch (error) {
    release?.();
    throw error;
  }
}
