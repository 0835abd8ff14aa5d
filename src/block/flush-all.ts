// A flush of many nodes (bdrv_flush_all): for a page that is about to be frozen, and before a move.

import { ENOMEDIUM } from '../base/ret.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';

/**
 * Makes all that was written to `nodes` durable, from the tops: a node hands its flush on to the children
 * that it writes to, where `cache.no-flush` does not keep it from that. One that fails keeps none of the others from theirs. Throws the first BlockError;
 * `when` ends its message.
 */
export async function flushAll(nodes: readonly BlockNode[], when = ''): Promise<void> {
  let failure: BlockError | undefined;
  for (const node of nodes) {
    if (node.readOnly || (isFlushedFromAbove(node) && !node.settings.cacheNoFlush)) continue;
    const ret = await node.lastFlush();
    if (ret >= 0 || ret === -ENOMEDIUM) continue;
    failure ??= BlockError.fromRet(ret, `flush of ${node.label}${when}`, node.name);
  }
  if (failure !== undefined) throw failure;
}

function isFlushedFromAbove(node: BlockNode): boolean {
  for (const [edge, parent] of node.quiescence.parents) {
    if (edge.writable && parent instanceof BlockNode && !parent.readOnly) return true;
  }
  return false;
}
