// The second half of a move: on the thread that a graph moves to, all is made ready while it still works on the
// other, then its nodes are opened, children before parents, and its users made again. A failure there closes
// what was opened, and answers what the other thread attaches instead.

import type { OpenContext, OpenedAhead } from './block-driver.ts';
import type { BlockBackend } from './block-backend.ts';
import { BlockChild } from './block-child.ts';
import type { ChildRole } from './block-child.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';
import type { Graph } from './graph.ts';
import { leaveLocks } from './move.ts';
import type { MovedBackend, MovedGraph, MovedNode, MovingNode, OnLeft } from './move.ts';
import { openFlags } from './node-settings.ts';
import { openingParent } from './opening-parent.ts';
import { detachEdge, planPermissions } from './permissions.ts';
import { headGuard } from './probe.ts';
import { loadDriver } from './registry.ts';

/** What was opened ahead, by the nodes' names. Whoever has it closes what no opening took out of it. */
export type Ahead = Map<string, OpenedAhead>;

/** How a graph is taken in. */
export interface AttachOptions {
  /** Makes a backend's user again. Throws BlockError. */
  readonly adopt: (backend: BlockBackend, user: unknown) => void | Promise<void>;
  readonly onNotice?: (nodeName: string, message: string) => void;
  /** What `prepareAttach` answered: openings take theirs. */
  readonly ahead?: Ahead;
  /** As `detachGraph`'s, for what is given back. */
  readonly onLeft?: OnLeft;
}

/** The graph could not be taken in; `moved` is what is to be attached elsewhere instead. */
export interface AttachFailure {
  readonly error: BlockError;
  readonly moved: MovedGraph;
}

/**
 * Checks that `nodes` could be attached, loads the code that this needs, and opens what can be, while their
 * disk still works elsewhere. The caller owns the answer. Throws BlockError.
 */
export async function prepareAttach(graph: Graph, nodes: readonly MovingNode[]): Promise<Ahead> {
  const opened: Ahead = new Map();
  try {
    for (const { nodeName, driver: name, ahead } of nodes) {
      if (graph.find(nodeName) !== undefined) {
        throw new BlockError(
          'EEXIST',
          `there is a node '${nodeName}' on the target thread already`,
        );
      }
      const driver = await loadDriver(name);
      if (ahead === undefined || driver.openAhead === undefined) continue;
      const { options, settings, readOnly, data } = ahead;
      const flags = openFlags(readOnly, settings);
      const context = { nodeName, aioContext: graph.context, flags };
      opened.set(nodeName, await driver.openAhead(context, driver.parseOptions(options), data));
    }
    return opened;
  } catch (error) {
    closeAhead(opened);
    throw error;
  }
}

/** Closes what no opening took. */
export function closeAhead(ahead: Ahead): void {
  for (const opened of ahead.values()) opened.close();
  ahead.clear();
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
    return { error, moved: await giveBack(graph, moved, opened, options.onLeft) };
  }
}

async function attachNode(
  graph: Graph,
  from: MovedNode,
  opened: ReadonlyMap<string, BlockNode>,
  { onNotice, ahead }: AttachOptions,
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
    ahead: ahead?.get(name),
    takesOver: from.leftLocks,
    notice: (message) => onNotice?.(name, message),
    openChild: async (role) => next(role),
    openNamedInImage: async (role) => next(role),
  };
  ahead?.delete(name);
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
  onLeft: OnLeft | undefined,
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
    const leftLocks = leaveLocks(node, onLeft);
    const carried = await node.detach();
    graph.forget(node);
    transfer.push(...(carried?.transfer ?? []));
    nodes.push({ ...from, carried: carried?.data, leftLocks });
  }
  const kept = moved.transfer.filter(
    (part) => !(part instanceof ArrayBuffer) || part.byteLength > 0,
  );
  return { nodes, backends, transfer: [...new Set([...kept, ...transfer])] };
}
