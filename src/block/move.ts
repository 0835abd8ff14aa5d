// Moving a graph to another thread (QEMU's bdrv_try_change_aio_context). JavaScript objects do not cross
// threads, so nodes do not either: what they were opened with does. Everything that hangs together
// moves together: collect, check, drain, then detach parents before children here, and attach children
// before parents there. A failure there brings all of it back.

import type { CoMutex } from '../aio/co-mutex.ts';
import type { OptionTree } from '../base/options.ts';
import { AbsentState } from './absent-state.ts';
import { BlockBackend } from './block-backend.ts';
import type { ChildRole } from './block-child.ts';
import type { Leaving } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';
import { flushAll } from './flush-all.ts';
import type { Graph } from './graph.ts';
import { upkeepOf } from './node-upkeep.ts';
import type { NodeSettings } from './node-settings.ts';

/** A node on its way. */
export interface MovedNode {
  readonly nodeName: string;
  readonly driver: string;
  /** The driver's own. */
  readonly options: OptionTree;
  readonly readOnly: boolean;
  /** It was guessed to be raw. */
  readonly guessed: boolean;
  readonly settings: NodeSettings;
  readonly filename: string;
  readonly children: readonly {
    readonly role: ChildRole;
    readonly nodeName: string;
    readonly writable: boolean;
  }[];
  /** Somebody added it by name: it stays open without a parent. */
  readonly owned: boolean;
  readonly stats: Readonly<Record<string, number>>;
  /** See `DriverState.carry`. */
  readonly carried: unknown;
  /** See `DriverState.leave`. */
  readonly leftLocks: boolean;
  /** `RequestBooks.openId` and `writeGen`: it is the same disk, flushed. */
  readonly openId: string;
  readonly writeGen: number;
  /** It is open elsewhere as well. */
  readonly shared?: boolean;
}

/** A backend on its way, and whose it is. */
export interface MovedBackend {
  readonly name: string;
  readonly nodeName: string;
  readonly readOnly: boolean;
  readonly enableWriteCache: boolean;
  readonly stats: Readonly<Record<string, number>>;
  /** What its user needs to be made again there: `TakenAway.user`. */
  readonly user: unknown;
}

/** A graph between two threads. Structured-cloneable. */
export interface MovedGraph {
  /** Parents before children. */
  readonly nodes: readonly MovedNode[];
  readonly backends: readonly MovedBackend[];
  /** What inside is handed over rather than copied: buffers, ports. */
  readonly transfer: readonly Transferable[];
}

/** What hangs together. */
interface MovePlan {
  /** Parents before children. */
  readonly nodes: readonly BlockNode[];
  readonly backends: readonly BlockBackend[];
}

/** A node that is about to move. Structured-cloneable, with shared memory. */
export interface MovingNode {
  readonly nodeName: string;
  readonly driver: string;
  /** What can be opened ahead. */
  readonly ahead?: {
    readonly options: OptionTree;
    readonly settings: NodeSettings;
    readonly readOnly: boolean;
    /** `DriverState.ahead`'s. */
    readonly data: unknown;
  };
}

/** Hears of what stays behind, to be called when it is known what became of the graph. */
export type OnLeft = (leaving: Leaving) => void;

/** Everything that reaches `root` or is reached from it, over parents and children. Throws EBUSY. */
export function planMove(graph: Graph, root: BlockNode): MovePlan {
  const nodes = new Set<BlockNode>();
  const backends = new Set<BlockBackend>();
  const queue = [root];
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    if (nodes.has(node)) continue;
    nodes.add(node);
    queue.push(...node.children.map((edge) => edge.node));
    for (const parent of node.quiescence.parents.values()) {
      if (parent instanceof BlockNode) queue.push(parent);
      else if (parent instanceof BlockBackend && parent.user !== undefined) backends.add(parent);
      else throw cannotMove(root, `node '${node.name}' is in use by ${parent.label}`);
    }
  }
  const ordered = parentsFirst(nodes);
  const inactive = ordered.find(({ state }) => state instanceof AbsentState);
  if (inactive !== undefined) throw cannotMove(root, `node '${inactive.name}' is not open`);
  const moving = ordered.find((node) => graph.isMoving(node));
  if (moving !== undefined) throw cannotMove(root, `node '${moving.name}' is being moved already`);
  // Whoever drained a node works on it by itself, and would go on with what is closed here.
  const held = ordered.find((node) => node.quiescence.count > 0);
  if (held !== undefined) {
    throw cannotMove(root, `node '${held.name}' is being checked, reset or otherwise held still`);
  }
  return { nodes: ordered, backends: [...backends] };
}

/** For `prepareAttach`. */
export function movingNode(node: BlockNode): MovingNode {
  const { name: nodeName, driver, options, settings, readOnly, state } = node;
  const data = state.ahead?.();
  const ahead = data === undefined ? {} : { ahead: { options, settings, readOnly, data } };
  return { nodeName, driver, ...ahead };
}

/**
 * Takes everything that hangs together with `nodeName` out of `graph`, drained and flushed, and
 * answers what `attachGraph` needs. Throws BlockError, and then all of it goes on where it is. `onLeft`: locks
 * stay, and it hears of each what lets go of it; without it, they go.
 */
export async function detachGraph(
  graph: Graph,
  nodeName: string,
  onLeft?: OnLeft,
): Promise<MovedGraph> {
  planMove(graph, graph.get(nodeName));
  // Whoever had the lock may have closed or replaced some of it.
  return graph.changes.withLock(() =>
    detachPlanned(graph, planMove(graph, graph.get(nodeName)), onLeft),
  );
}

async function detachPlanned(
  graph: Graph,
  { nodes, backends }: MovePlan,
  onLeft: OnLeft | undefined,
): Promise<MovedGraph> {
  graph.beginMove(nodes);
  const locks: CoMutex[] = [];
  const paused: BlockBackend[] = [];
  let drained = false;
  try {
    for (const backend of backends) {
      paused.push(backend);
      await backend.user!.pause();
    }
    for (const node of nodes) node.quiescence.begin();
    drained = true;
    for (const node of nodes) await node.quiescence.settle();
    // A check that begins now would go on in nodes that end meanwhile: it waits, and hears that they did.
    for (const node of nodes) {
      const lock = upkeepOf(node);
      await lock.lock();
      locks.push(lock);
    }
    await flushAll(nodes, ' before its move');
  } catch (error) {
    for (const lock of locks) lock.unlock();
    if (drained) for (const node of nodes) node.quiescence.end();
    for (const backend of paused) backend.user!.resume();
    await graph.endMove(nodes);
    throw error;
  }
  // From here on nothing can fail: closing answers no errors.
  const transfer: Transferable[] = [];
  const movedBackends = backends.map((backend) => {
    const { name, root, readOnly, enableWriteCache } = backend;
    const stats = backend.stats.snapshot();
    const taken = backend.user!.takeAway();
    transfer.push(...taken.transfer);
    graph.forgetBackend(backend);
    return { name, nodeName: root!.name, readOnly, enableWriteCache, stats, user: taken.user };
  });
  const movedNodes: MovedNode[] = [];
  for (const node of nodes) {
    const owned = graph.isOwned(node);
    const leftLocks = leaveLocks(node, onLeft);
    const carried = await node.detach();
    graph.forget(node);
    transfer.push(...(carried?.transfer ?? []));
    movedNodes.push({ ...describeNode(node), owned, carried: carried?.data, leftLocks });
  }
  for (const lock of locks) lock.unlock();
  await graph.endMove(nodes);
  return { nodes: movedNodes, backends: movedBackends, transfer };
}

/** Has its locks stay, if anybody wants them to. True: they do. */
export function leaveLocks(node: BlockNode, onLeft: OnLeft | undefined): boolean {
  const leaving = onLeft && node.state.leave?.();
  if (leaving === undefined) return false;
  onLeft!(leaving);
  return true;
}

/** What a node is opened with elsewhere. */
export function describeNode(node: BlockNode): Omit<MovedNode, 'owned' | 'carried' | 'leftLocks'> {
  return {
    nodeName: node.name,
    driver: node.driver,
    options: node.options,
    readOnly: node.readOnly,
    guessed: node.guessed,
    settings: node.settings,
    filename: node.filename,
    children: node.children.map(({ role, node: child, writable }) => ({
      role,
      nodeName: child.name,
      writable,
    })),
    stats: node.stats.snapshot(),
    openId: node.books.openId,
    writeGen: node.books.writeGen,
  };
}

/** Orders nodes so that every parent comes before its children. */
export function parentsFirst(nodes: ReadonlySet<BlockNode>): BlockNode[] {
  const ordered: BlockNode[] = [];
  const placed = new Set<BlockNode>();
  const place = (node: BlockNode): void => {
    if (placed.has(node) || !nodes.has(node)) return;
    placed.add(node);
    for (const parent of node.quiescence.parents.values()) {
      if (parent instanceof BlockNode) place(parent);
    }
    ordered.push(node);
  };
  for (const node of nodes) place(node);
  return ordered;
}

function cannotMove(root: BlockNode, why: string): BlockError {
  return new BlockError('EBUSY', `node '${root.name}' cannot be moved: ${why}`, {
    node: root.name,
  });
}
