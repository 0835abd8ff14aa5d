// WebKit's own ways with OPFS, loaded where a file cannot be opened for a reason that has two meanings.

import { nameOf } from './opfs-open.ts';
import type { OpfsOpenRequest } from './opfs-open.ts';

/** Whether this browser has sync access handles at all: tries with a file of its own, which goes again. */
export async function hasSyncHandles({
  environment,
  aioContext,
}: OpfsOpenRequest): Promise<boolean> {
  const name = `.diskplane-${Math.floor(aioContext.random() * 2 ** 32).toString(16)}`;
  try {
    const root = await environment.root();
    const file = await root.getFileHandle(name, { create: true });
    try {
      (await file.createSyncAccessHandle!({ mode: 'readwrite' })).close();
    } finally {
      await root.removeEntry(name);
    }
    return true;
  } catch (error) {
    // Nobody else has that file open. Whatever else goes wrong says nothing about handles.
    return !['NotSupportedError', 'InvalidStateError'].includes(nameOf(error));
  }
}
