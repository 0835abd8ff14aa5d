// A flush of many nodes (bdrv_flush_all): for a page that is about to be frozen, and before a move.

import { ENOMEDIUM } from '../base/ret.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';
import type { Graph } from './graph.ts';

/**
 * As `flushAll`, of all nodes there are. Those that are being moved, reopened or committed get their turn when
 * that is over: nothing may come upon them from outside meanwhile.
 */
export async function flushGraph(graph: Graph): Promise<void> {
  const busy: BlockNode[] = [];
  // Looked at right before each is flushed.
  const others = function* (): Iterable<BlockNode> {
    for (const node of graph.nodes) {
      if (graph.isMoving(node)) busy.push(node);
      else yield node;
    }
  };
  try {
    await flushAll(others());
  } finally {
    if (busy.length > 0) await graph.changes.withLock(() => flushAll(busy));
  }
}

/**
 * Makes all that was written to `nodes` durable, from the tops: a node hands its flush on to the children that it
 * writes to, where `cache.no-flush` does not keep it from that. One that fails keeps none of the others from
 * theirs. Throws the first BlockError; `when` ends its message.
 */
export async function flushAll(nodes: Iterable<BlockNode>, when = ''): Promise<void> {
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
