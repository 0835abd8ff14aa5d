// Moving a graph to another thread (QEMU's bdrv_try_change_aio_context). JavaScript objects do not cross
// threads, so nodes do not either: what they were opened with does. Everything that hangs together
// moves together: collect, check, drain, then detach parents before children here, and attach children
// before parents there. A failure there brings all of it back.

import type { CoMutex } from '../aio/co-mutex.ts';
import type { OptionTree } from '../base/options.ts';
import { AbsentState } from './absent-state.ts';
import { BlockBackend } from './block-backend.ts';
import { BlockChild } from './block-child.ts';
import type { ChildRole } from './block-child.ts';
import type { OpenContext } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';
import { flushAll } from './flush-all.ts';
import type { Graph } from './graph.ts';
import { upkeepOf } from './node-upkeep.ts';
import { openFlags } from './node-settings.ts';
import type { NodeSettings } from './node-settings.ts';
import { openingParent } from './opening-parent.ts';
import { detachEdge, planPermissions } from './permissions.ts';
import { headGuard } from './probe.ts';
import { loadDriver } from './registry.ts';

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

/**
 * Takes everything that hangs together with `nodeName` out of `graph`, drained and flushed, and
 * answers what `attachGraph` needs. Throws BlockError, and then all of it goes on where it is.
 */
export async function detachGraph(graph: Graph, nodeName: string): Promise<MovedGraph> {
  planMove(graph, graph.get(nodeName));
  // Whoever had the lock may have closed or replaced some of it.
  return graph.changes.withLock(() => detachPlanned(graph, planMove(graph, graph.get(nodeName))));
}

async function detachPlanned(graph: Graph, { nodes, backends }: MovePlan): Promise<MovedGraph> {
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
    const carried = await node.detach();
    graph.forget(node);
    transfer.push(...(carried?.transfer ?? []));
    movedNodes.push({ ...describeNode(node), owned, carried: carried?.data });
  }
  for (const lock of locks) lock.unlock();
  await graph.endMove(nodes);
  return { nodes: movedNodes, backends: movedBackends, transfer };
}

/** What a node is opened with elsewhere. */
export function describeNode(node: BlockNode): Omit<MovedNode, 'owned' | 'carried'> {
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

/** How a graph is taken in. */
export interface AttachOptions {
  /** Makes a backend's user again. Throws BlockError. */
  readonly adopt: (backend: BlockBackend, user: unknown) => void | Promise<void>;
  readonly onNotice?: (nodeName: string, message: string) => void;
}

/** The graph could not be taken in; `moved` is what is to be attached elsewhere instead. */
export interface AttachFailure {
  readonly error: BlockError;
  readonly moved: MovedGraph;
}

/**
 * Checks that `moved` could be attached, and loads the code it needs, while its disk still works
 * elsewhere. Throws BlockError.
 */
export async function prepareAttach(
  graph: Graph,
  nodes: readonly Pick<MovedNode, 'nodeName' | 'driver'>[],
): Promise<void> {
  for (const { nodeName, driver } of nodes) {
    if (graph.find(nodeName) !== undefined) {
      throw new BlockError('EEXIST', `there is a node '${nodeName}' on the target thread already`);
    }
    await loadDriver(driver);
  }
}

/**
 * Opens everything in `moved`, children before parents, then adopts its users. Answers undefined, or
 * why that failed: then nothing of it is open here.
 */
export async function attachGraph(
  graph: Graph,
  moved: MovedGraph,
  options: AttachOptions,
): Promise<AttachFailure | undefined> {
  return graph.changes.withLock(() => attachAlone(graph, moved, options));
}

async function attachAlone(
  graph: Graph,
  moved: MovedGraph,
  options: AttachOptions,
): Promise<AttachFailure | undefined> {
  const opened = new Map<string, BlockNode>();
  try {
    for (const from of [...moved.nodes].reverse()) {
      opened.set(from.nodeName, await attachNode(graph, from, opened, options));
    }
    for (const backend of moved.backends) await adoptBackend(graph, backend, options);
    return undefined;
  } catch (cause) {
    const error =
      cause instanceof BlockError
        ? cause
        : new BlockError('EIO', `the graph cannot be attached: ${String(cause)}`, { cause });
    return { error, moved: await giveBack(graph, moved, opened) };
  }
}

async function attachNode(
  graph: Graph,
  from: MovedNode,
  opened: ReadonlyMap<string, BlockNode>,
  { onNotice }: AttachOptions,
): Promise<BlockNode> {
  const { nodeName: name } = from;
  const driver = await loadDriver(from.driver);
  graph.reserveMoved(name);
  const label = `node '${name}'`;
  const edges: BlockChild[] = [];
  // Children are those it had, whatever names options or images give them.
  const next = (role: ChildRole): BlockChild => {
    const before = edges.filter((edge) => edge.role === role).length;
    const child = from.children.filter((candidate) => candidate.role === role)[before];
    const node = child === undefined ? undefined : opened.get(child.nodeName);
    if (child === undefined || node === undefined) {
      throw new BlockError('EIO', `${label} came without its child '${role}'`, { node: name });
    }
    const edge = new BlockChild(role, node, child.writable);
    node.quiescence.attach(edge, openingParent(label));
    edges.push(edge);
    return edge;
  };
  const context: OpenContext = {
    nodeName: name,
    aioContext: graph.context,
    flags: openFlags(from.readOnly, from.settings),
    signal: undefined,
    headGuard: from.guessed ? await headGuard() : undefined,
    carried: from.carried,
    notice: (message) => onNotice?.(name, message),
    openChild: async (role) => next(role),
    openNamedInImage: async (role) => next(role),
  };
  try {
    const state = await driver.open(context, driver.parseOptions(from.options));
    const node = new BlockNode({
      name,
      driver: from.driver,
      kind: driver.kind,
      context: graph.context,
      state,
      children: edges,
      readOnly: from.readOnly,
      settings: from.settings,
      childPermissions: driver.childPermissions,
      filename: from.filename,
      options: from.options,
      guessed: from.guessed,
    });
    planPermissions([node])();
    node.stats.restore(from.stats);
    const { books } = node;
    books.openId = from.openId;
    books.writeGen = books.flushedGen = from.writeGen;
    node.shared = from.shared === true;
    graph.insert(node);
    if (from.owned) graph.own(node);
    return node;
  } catch (error) {
    for (const edge of edges) detachEdge(edge);
    throw error;
  } finally {
    graph.releaseName(name);
  }
}

async function adoptBackend(
  graph: Graph,
  from: MovedBackend,
  options: AttachOptions,
): Promise<void> {
  const { name, nodeName, readOnly, enableWriteCache } = from;
  const request = { name, nodeName, readOnly, enableWriteCache, moved: true };
  const backend = graph.newBackend(request);
  backend.stats.restore(from.stats);
  await options.adopt(backend, from.user);
}

/** Closes what was attached so far, parents first, and takes back what it had been handed. */
async function giveBack(
  graph: Graph,
  moved: MovedGraph,
  opened: ReadonlyMap<string, BlockNode>,
): Promise<MovedGraph> {
  const transfer: Transferable[] = [];
  const backends = moved.backends.map((from) => {
    const backend = graph.backends.find((candidate) => candidate.name === from.name);
    if (backend === undefined) return from;
    const taken = backend.user?.takeAway();
    graph.forgetBackend(backend);
    if (taken === undefined) return from;
    transfer.push(...taken.transfer);
    return { ...from, user: taken.user };
  });
  const nodes: MovedNode[] = [];
  for (const from of moved.nodes) {
    const node = opened.get(from.nodeName);
    if (node === undefined) {
      nodes.push(from);
      continue;
    }
    await node.drainBegin();
    const carried = await node.detach();
    graph.forget(node);
    transfer.push(...(carried?.transfer ?? []));
    nodes.push({ ...from, carried: carried?.data });
  }
  const kept = moved.transfer.filter(
    (part) => !(part instanceof ArrayBuffer) || part.byteLength > 0,
  );
  return { nodes, backends, transfer: [...new Set([...kept, ...transfer])] };
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
