// Reopening a disk's root node while devices use it.

import type { BlockdevOptions } from './iothread/control.ts';
import type { IOThread } from './iothread/iothread.ts';

/** Reopens `rootNode` with `options`; answers whether it is read-only then. */
export async function reopenRoot(
  thread: IOThread,
  rootNode: string,
  options: BlockdevOptions,
): Promise<boolean> {
  await thread.blockdevReopen([{ ...options, 'node-name': rootNode }]);
  const nodes = await thread.queryBlock();
  return nodes.some(({ nodeName, readOnly }) => nodeName === rootNode && readOnly);
}
