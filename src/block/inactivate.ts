// Lets go of every image of a graph, and takes them up again (bdrv_inactivate_all, bdrv_activate_all): in
// between another tab may open them, or whoever a machine went to with its saved state. The nodes stay, and
// so do their users; what these ask for meanwhile fails with EPERM.

import { AbsentState } from './absent-state.ts';
import { BlockBackend } from './block-backend.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';
import { whileAllDrained } from './drain.ts';
import { flushAll } from './flush-all.ts';
import type { Graph } from './graph.ts';
import { parentsFirst } from './move.ts';
import { upkeepOf } from './node-upkeep.ts';
import { loadDriver } from './registry.ts';
import { checkIdle, withoutMaking } from './reopen-plan.ts';
import { closeState, openState } from './reopen-swap.ts';
import type { OnNotice, Opened } from './reopen-swap.ts';

/**
 * Flushes everything, then closes all images, parents before children. What is inactive already stays so.
 * Throws BlockError - EBUSY while a job runs, ENOTSUP where several threads have an image open, or a flush
 * that failed -, and then everything is open as before.
 */
export function inactivateAll(graph: Graph): Promise<void> {
  return whileHeld(graph, async (nodes) => {
    const open = nodes.filter((node) => !isInactive(node));
    await flushAll(open, ' before it becomes inactive');
    for (const node of open) await closeState(node, true);
  });
}

/**
 * Opens again what `inactivateAll` closed, children before parents. Throws BlockError that names the node -
 * EBUSY where somebody else has its image open -, and then everything is inactive as before.
 */
export function activateAll(graph: Graph, onNotice?: OnNotice): Promise<void> {
  return whileHeld(graph, async (nodes) => {
    const inactive = nodes.filter(isInactive).reverse();
    const lengths = inactive.map(({ length }) => length);
    const opened: BlockNode[] = [];
    try {
      for (const node of inactive) {
        const driver = await loadDriver(node.driver);
        await openState(graph, { node, driver, sameImage: true }, howItWas(node), onNotice);
        opened.unshift(node);
      }
    } catch (error) {
      for (const node of opened) await closeState(node, true);
      throw error;
    }
    inactive.forEach((node, i) => {
      if (node.length === lengths[i]) return;
      for (const parent of node.quiescence.parents.values()) parent.childResized();
    });
  });
}

/** Runs `body` over all nodes, parents before children, drained; nobody else works on them meanwhile. */
async function whileHeld(
  graph: Graph,
  body: (nodes: readonly BlockNode[]) => Promise<void>,
): Promise<void> {
  await graph.changes.withLock(async () => {
    const nodes = parentsFirst(new Set(graph.nodes));
    for (const node of nodes) {
      checkIdle(graph, node);
      checkJobless(node);
    }
    graph.beginMove(nodes);
    const locks = nodes.map(upkeepOf);
    for (const lock of locks) void lock.lock();
    try {
      await whileAllDrained(graph, () => body(nodes));
    } finally {
      for (const lock of locks) lock.unlock();
      await graph.endMove(nodes);
    }
  });
}

/** A job would take the refusals of its requests for errors of the image. */
function checkJobless(node: BlockNode): void {
  for (const parent of node.quiescence.parents.values()) {
    if (!(parent instanceof BlockBackend) || parent.user !== undefined) continue;
    const message = `${node.label} is in use by ${parent.label}: wait for that, or abort it`;
    throw new BlockError('EBUSY', message, { node: node.name });
  }
}

function isInactive({ state }: BlockNode): boolean {
  return state instanceof AbsentState && state.inactive;
}

function howItWas({ options, readOnly, settings, children }: BlockNode): Opened {
  return { options: withoutMaking(options), readOnly, settings, children };
}
