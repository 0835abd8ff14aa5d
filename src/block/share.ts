// Opening a graph on several threads at a time: what drivers allow that say what the others need for it to
// see the same bytes. Each thread then has nodes of its own; nothing but the bytes is common to them.

import { BlockError } from './block-error.ts';
import { subtreesOf } from './drain.ts';
import type { Graph } from './graph.ts';
import { describeNode, parentsFirst } from './move.ts';
import type { MovedGraph } from './move.ts';

/**
 * What other threads open the disk of `nodeName` with, beside this one, which keeps it. From then on its
 * nodes count as shared. Throws BlockError('ENOTSUP') that names the node which one thread alone may have.
 */
export function shareGraph(graph: Graph, nodeName: string): MovedGraph {
  const root = graph.get(nodeName);
  const nodes = parentsFirst(subtreesOf([root]));
  const shared = nodes.map((node) => ({ node, data: node.state.share?.() }));
  const refusing = shared.find(({ data }) => data === undefined);
  if (refusing !== undefined) {
    const { name, driver } = refusing.node;
    throw new BlockError(
      'ENOTSUP',
      `'${nodeName}' cannot be served by several IOThreads: node '${name}' (${driver}) is one thread's ` +
        "alone. null-co, memory with 'share': true, in Chromium opfs with 'share': true, and raw over these are not; " +
        'or map all queues to one IOThread',
      { node: name },
    );
  }
  for (const { node } of shared) node.shared = true;
  return {
    nodes: shared.map(({ node, data }) => ({
      ...describeNode(node),
      owned: node === root,
      carried: data,
      leftLocks: false,
      shared: true,
    })),
    backends: [],
    transfer: [],
  };
}
