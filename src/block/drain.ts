// Drained sections over more nodes than one: some and all that is below them, or everything. All of them
// stop before the first is waited for: one that still ran could go on feeding another for ever.

import type { BlockNode } from './block-node.ts';
import type { Graph } from './graph.ts';

/**
 * Runs `body` while no node of `graph` has a request in flight, nor those that come meanwhile
 * (bdrv_drain_all_begin).
 */
export async function whileAllDrained<T>(graph: Graph, body: () => Promise<T>): Promise<T> {
  graph.allDrained += 1;
  for (const { quiescence } of graph.nodes) quiescence.begin();
  try {
    for (const { quiescence } of graph.nodes) await quiescence.settle();
    return await body();
  } finally {
    graph.allDrained -= 1;
    // Not those that were closed meanwhile; those that came began when they were inserted.
    for (const { quiescence } of graph.nodes) quiescence.end();
  }
}

/**
 * Runs `body` while `roots`, all that is below them and all that is above any of these make no requests.
 * Unlike a section on a node alone it reaches the drivers below, which then let go of what they hold
 * back (`DriverState.drainBegin`), so that waiting comes to an end.
 */
export async function whileSubtreeDrained<T>(
  roots: readonly BlockNode[],
  body: () => Promise<T>,
): Promise<T> {
  const nodes = subtreesOf(roots);
  for (const { quiescence } of nodes) quiescence.begin();
  try {
    for (const { quiescence } of nodes) await quiescence.settle();
    return await body();
  } finally {
    for (const { quiescence } of nodes) quiescence.end();
  }
}

/** `roots` and all that is below them. */
export function subtreesOf(roots: readonly BlockNode[]): Set<BlockNode> {
  const nodes = new Set(roots);
  // A set goes on to what is added while it is walked.
  for (const node of nodes) for (const edge of node.children) nodes.add(edge.node);
  return nodes;
}
