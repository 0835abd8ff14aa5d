// Reopening nodes (blockdev-reopen): other options, read-only and back, another backing file or another
// file, for several nodes at a time. One transaction: everything is checked before anything is touched,
// and what fails later leaves all of it as it was. Users stay, and their requests wait.

import type { OptionTree } from '../base/options.ts';
import { AbsentState } from './absent-state.ts';
import { BlockBackend } from './block-backend.ts';
import { BlockChild } from './block-child.ts';
import type { BlockDriver } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';
import { subtreesOf, whileSubtreeDrained } from './drain.ts';
import type { Graph } from './graph.ts';
import { parentsFirst } from './move.ts';
import { upkeepOf } from './node-upkeep.ts';
import { planPermissions } from './permissions.ts';
import type { Prospects } from './permissions.ts';
import { loadDriver } from './registry.ts';
import { childrenOf, namedNodes, planReopen } from './reopen-plan.ts';
import type { Step } from './reopen-plan.ts';
import { swapStates } from './reopen-swap.ts';
import type { OnNotice, Swap } from './reopen-swap.ts';

/**
 * Reopens the nodes that `requests` name by `node-name`. What a request leaves out stays as it is; `file`
 * and `backing` take the name of another node, `backing` also null. Children that nobody named and
 * nobody else uses go along with `read-only` and `cache`. Throws BlockError that names node and option,
 * and then nothing has changed.
 */
export async function reopenNodes(
  graph: Graph,
  requests: readonly OptionTree[],
  onNotice?: OnNotice,
): Promise<void> {
  await graph.changes.withLock(() => reopenLocked(graph, requests, onNotice));
}

/** The same, for who has `graph.changes`. */
export async function reopenLocked(
  graph: Graph,
  requests: readonly OptionTree[],
  onNotice?: OnNotice,
): Promise<void> {
  const drivers = new Map<string, BlockDriver>();
  for (const { driver } of subtreesOf(namedNodes(graph, requests))) {
    drivers.set(driver, await loadDriver(driver));
  }
  const steps = planReopen(graph, requests, drivers);
  await whileHeld(graph, steps, async (nodes) => {
    await whileSubtreeDrained(nodes, () => reopenDrained(graph, steps, onNotice));
  });
}

/** Keeps others off the nodes, closes those that nobody wants any more afterwards. */
async function whileHeld(
  graph: Graph,
  steps: readonly Step[],
  body: (nodes: readonly BlockNode[]) => Promise<void>,
): Promise<void> {
  const held = new Set<BlockNode>();
  for (const { node, replaced } of steps) {
    held.add(node);
    for (const edge of node.children) held.add(edge.node);
    for (const child of replaced.values()) if (child !== null) held.add(child);
  }
  const nodes = parentsFirst(held);
  graph.beginMove(nodes);
  const locks = steps.map(({ node }) => upkeepOf(node));
  for (const lock of locks) void lock.lock();
  try {
    await body(nodes);
  } finally {
    for (const lock of locks) lock.unlock();
    await graph.endMove(nodes);
  }
}

async function reopenDrained(
  graph: Graph,
  steps: readonly Step[],
  onNotice: OnNotice,
): Promise<void> {
  const swapping = steps.filter(({ swap }) => swap);
  for (const { node } of swapping) await flush(node);
  const lengths = steps.map(({ node }) => node.length);
  const swaps = swapping.map((step) => prepare(steps, step));
  let grant: () => void;
  try {
    grant = planPermissions(partiesOf(steps, swaps), prospectsOf(steps, swaps));
    await swapStates(graph, swaps, onNotice);
  } catch (error) {
    for (const { after } of swaps) detach(after.children);
    throw error;
  }
  for (const { before } of swaps) detach(before.children);
  grant();
  for (const { node, replaced } of swapping) if (replaced.size > 0) showsOthers(node);
  steps.forEach(({ node, settings }, i) => {
    node.applySettings(settings);
    for (const [edge, parent] of node.quiescence.parents) {
      if (parent instanceof BlockBackend) edge.writable = !parent.readOnly && !node.readOnly;
      if (node.length !== lengths[i]) parent.childResized();
    }
  });
}

/** It shows other bytes than before, and so does what is above. */
function showsOthers(node: BlockNode): void {
  node.books.writeGen += 1;
  for (const parent of node.quiescence.parents.values()) {
    if (parent instanceof BlockNode) showsOthers(parent);
  }
}

async function flush(node: BlockNode): Promise<void> {
  if (node.state instanceof AbsentState) return;
  const ret = await node.lastFlush();
  if (ret < 0) throw BlockError.fromRet(ret, `flush of ${node.label} before its reopen`, node.name);
}

/** Nodes whose users, or what these do, may be others. */
function partiesOf(steps: readonly Step[], swaps: readonly Swap[]): Set<BlockNode> {
  const nodes = new Set(steps.map(({ node }) => node));
  for (const { before, after } of swaps) {
    for (const edge of [...before.children, ...after.children]) nodes.add(edge.node);
  }
  return nodes;
}

function prospectsOf(steps: readonly Step[], swaps: readonly Swap[]): Prospects {
  const swapOf = new Map(swaps.map((swap) => [swap.node, swap]));
  const stepOf = new Map(steps.map((step) => [step.node, step]));
  const leaving = new Set(swaps.flatMap(({ before }) => before.children));
  return {
    of: (node) => ({
      readOnly: swapOf.get(node)?.after.readOnly ?? node.readOnly,
      children: swapOf.get(node)?.after.children ?? node.children,
      settings: stepOf.get(node)?.settings ?? node.settings,
    }),
    leaves: (edge) => leaving.has(edge),
  };
}

/** The edges that it will have, beside those that it has until then. */
function prepare(steps: readonly Step[], step: Step): Swap {
  const { node, driver, options, readOnly, settings, replaced } = step;
  const all = new Map(steps.map((other) => [other.node, other]));
  const children = childrenOf(all, node).map(([role, child]) => {
    const edge = new BlockChild(role, child, role !== 'backing' && !readOnly);
    child.quiescence.attach(edge, node);
    return edge;
  });
  return {
    node,
    driver,
    before: {
      options: node.options,
      readOnly: node.readOnly,
      settings: node.settings,
      children: node.children,
    },
    after: { options, readOnly, settings, children },
    sameImage: replaced.size === 0,
  };
}

function detach(edges: readonly BlockChild[]): void {
  for (const edge of edges) edge.node.quiescence.detach(edge);
}
