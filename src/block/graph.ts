// All nodes and backends of one AioContext, by name: who uses whom, who may write, what is closed
// when. A node lives while somebody above it, or the one who added it (`blockdevAdd`), wants it.

import type { AioContext } from '../aio/aio-context.ts';
import { CoMutex } from '../aio/co-mutex.ts';
import { BlockBackend } from './block-backend.ts';
import type { BlockChild } from './block-child.ts';
import { BlockError } from './block-error.ts';
import type { BlockNode } from './block-node.ts';
import type { Permissions } from './permissions.ts';

/** How a backend is made; see `BlockBackendOptions`. */
export interface BackendRequest {
  readonly name: string;
  readonly nodeName: string;
  readonly readOnly?: boolean;
  readonly enableWriteCache?: boolean;
  readonly permissions?: Permissions;
  /** It comes with its node from another thread: what was reopened read-only under it may be so no longer. */
  readonly moved?: boolean;
}

const NODE_NAME = /^[A-Za-z][A-Za-z0-9._-]{0,30}$/;

export class Graph {
  readonly context: AioContext;
  /** Held by what changes many nodes at a time: a reopen, an inactivation, the end. */
  readonly changes: CoMutex = new CoMutex();
  /** Open sections of `whileAllDrained`: nodes that come are in them too. */
  allDrained = 0;
  readonly #nodes = new Map<string, BlockNode>();
  readonly #backends = new Map<string, BlockBackend>();
  // Wanted by whoever added them, not only by a parent.
  readonly #owned = new Set<BlockNode>();
  // On their way to another thread, or being reopened.
  readonly #moving = new Set<BlockNode>();
  // Names of nodes that are being opened.
  readonly #reserved = new Set<string>();
  readonly #autoPrefix: string;
  #autoNames = 0;
  #timing = false;

  /** `autoPrefix` begins the names of nodes that were given none: of no other thread's graph. */
  constructor(context: AioContext, autoPrefix = '#block') {
    this.context = context;
    this.#autoPrefix = autoPrefix;
  }

  get nodes(): readonly BlockNode[] {
    return [...this.#nodes.values()];
  }
  get backends(): readonly BlockBackend[] {
    return [...this.#backends.values()];
  }

  find(nodeName: string): BlockNode | undefined {
    return this.#nodes.get(nodeName);
  }

  /** Throws BlockError('ENOENT'). */
  get(nodeName: string): BlockNode {
    const node = this.#nodes.get(nodeName);
    if (node !== undefined) return node;
    const known = [...this.#nodes.keys()].join(', ');
    throw new BlockError('ENOENT', `no node '${nodeName}'; there are: ${known || 'none'}`);
  }

  /** Keeps a name free for a node that is being opened; makes one up (`#block12`) for undefined. */
  reserveName(wanted: string | undefined): string {
    if (wanted === undefined) {
      let name: string;
      do name = `${this.#autoPrefix}${String(this.#autoNames++).padStart(3, '0')}`;
      while (this.#nodes.has(name));
      this.#reserved.add(name);
      return name;
    }
    if (!NODE_NAME.test(wanted)) {
      throw new BlockError(
        'EINVAL',
        `node-name '${wanted.slice(0, 40)}' must be a letter and up to 30 of A-Z a-z 0-9 . _ -`,
      );
    }
    if (this.#nodes.has(wanted) || this.#reserved.has(wanted)) {
      throw new BlockError('EEXIST', `there is a node '${wanted}' already`);
    }
    this.#reserved.add(wanted);
    return wanted;
  }

  releaseName(name: string): void {
    this.#reserved.delete(name);
  }

  insert(node: BlockNode): void {
    this.#reserved.delete(node.name);
    this.#nodes.set(node.name, node);
    for (let i = 0; i < this.allDrained; i++) node.quiescence.begin();
    if (this.#timing) node.setTiming(true);
  }

  /** Times every request of every node, those to come included, from now on anew; or none. */
  setTiming(on: boolean): void {
    this.#timing = on;
    for (const node of this.nodes) node.setTiming(on);
  }

  /** Keeps the name of a node that comes from another thread. Throws BlockError('EEXIST'). */
  reserveMoved(name: string): void {
    if (this.#nodes.has(name) || this.#reserved.has(name)) {
      throw new BlockError('EEXIST', `there is a node '${name}' already`);
    }
    this.#reserved.add(name);
  }

  /** Takes out a node that left for another thread. */
  forget(node: BlockNode): void {
    this.#nodes.delete(node.name);
    this.#owned.delete(node);
  }
  /** Takes out a backend that left for another thread. */
  forgetBackend(backend: BlockBackend): void {
    backend.remove();
    this.#backends.delete(backend.name);
  }

  /** Nodes that are moved or reopened get no new users, and are not closed when they lose the last one. */
  beginMove(nodes: Iterable<BlockNode>): void {
    for (const node of nodes) this.#moving.add(node);
  }
  /** Closes those that nobody wants any more. Throws the first BlockError after that. */
  async endMove(nodes: Iterable<BlockNode>): Promise<void> {
    let failure: unknown;
    for (const node of nodes) this.#moving.delete(node);
    for (const node of nodes) {
      await this.release(node).catch((error: unknown) => (failure ??= error));
    }
    if (failure !== undefined) throw failure as Error;
  }
  isMoving(node: BlockNode): boolean {
    return this.#moving.has(node);
  }
  isOwned(node: BlockNode): boolean {
    return this.#owned.has(node);
  }

  /** Keeps `node` open until `blockdevDel`, whether or not it has a user. */
  own(node: BlockNode): void {
    this.#owned.add(node);
  }

  /** Refuses a new user of a node that is moved or reopened. Throws BlockError('EBUSY'). */
  refuseMoving(node: BlockNode): void {
    if (!this.#moving.has(node)) return;
    const message = `node '${node.name}' is being moved to another thread, or reopened`;
    throw new BlockError('EBUSY', message, { node: node.name });
  }

  /** Closes the node that `blockdevAdd` made, and what only it used. Throws BlockError('EBUSY'). */
  async blockdevDel(nodeName: string): Promise<void> {
    const node = this.get(nodeName);
    this.refuseMoving(node);
    for (const [edge, parent] of node.quiescence.parents) {
      throw new BlockError(
        'EBUSY',
        `node '${nodeName}' is in use by ${parent.label} as '${edge.role}'`,
        { node: nodeName },
      );
    }
    this.#owned.delete(node);
    await this.release(node);
  }

  /**
   * Closes `node` if nobody wants it any more, then its children likewise: parents before children.
   * Throws the first BlockError (a failed flush) after all is closed.
   */
  async release(node: BlockNode): Promise<void> {
    if (this.#owned.has(node) || this.#moving.has(node)) return;
    if (node.quiescence.parents.size > 0) return;
    if (!this.#nodes.delete(node.name)) return;
    let failure: unknown;
    const children: readonly BlockChild[] = node.children;
    await node.close().catch((error: unknown) => (failure = error));
    for (const child of children) {
      await this.release(child.node).catch((error: unknown) => (failure ??= error));
    }
    if (failure !== undefined) throw failure as Error;
  }

  /** A new user of a node. Several may share one. Throws BlockError: EBUSY where others do not share. */
  newBackend(request: BackendRequest): BlockBackend {
    const { name, nodeName, readOnly, enableWriteCache } = request;
    if (this.#backends.has(name)) {
      throw new BlockError('EEXIST', `there is a backend '${name}' already`);
    }
    const root = this.get(nodeName);
    if (readOnly === false && root.readOnly && request.moved !== true) {
      throw new BlockError('EROFS', `node '${nodeName}' is read-only`, { node: nodeName });
    }
    this.refuseMoving(root);
    const backend = new BlockBackend({
      name,
      root,
      context: this.context,
      permissions: request.permissions,
      ...(readOnly === undefined ? {} : { readOnly }),
      ...(enableWriteCache === undefined ? {} : { enableWriteCache }),
    });
    this.#backends.set(name, backend);
    return backend;
  }

  /** Drains `backend` and unplugs it; its node is closed if nobody else wants it. */
  async closeBackend(backend: BlockBackend): Promise<void> {
    const { root } = backend;
    await backend.close();
    this.#backends.delete(backend.name);
    if (root !== null) await this.release(root);
  }

  /**
   * Unplugs `backend` at once: what it has in flight ends by itself, and nobody waits for it. Its node
   * is closed if nobody else wants it.
   */
  async dropBackend(backend: BlockBackend): Promise<void> {
    const root = backend.remove();
    this.#backends.delete(backend.name);
    if (root !== null) await this.release(root);
  }

  /**
   * Closes everything, once all of it is drained: users first, then parents before children, each flushed
   * (bdrv_close_all). What users ask for from then on answers -ENOMEDIUM. Throws the first BlockError after
   * all is closed.
   */
  async closeAll(): Promise<void> {
    await this.changes.withLock(async () => {
      let failure: unknown;
      const note = (error: unknown): void => void (failure ??= error);
      // As `whileAllDrained`, which is loaded with what few pages use; this has to work without a server.
      const drained = this.nodes;
      for (const { quiescence } of drained) quiescence.begin();
      for (const { quiescence } of drained) await quiescence.settle();
      this.#owned.clear();
      for (const backend of this.backends) await this.closeBackend(backend).catch(note);
      for (const node of this.nodes) await this.release(node).catch(note);
      // What somebody is just opening goes on; he closes it.
      for (const { closed, quiescence } of drained) if (!closed) quiescence.end();
      if (failure !== undefined) throw failure as Error;
    });
  }
}
