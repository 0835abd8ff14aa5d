// Who may do what with a node at a time (QEMU's BLK_PERM_*): every edge says what its parent needs of the child,
// and what it puts up with from others. Whatever one needs, all others must share. What a parent needs of its
// children follows from what its own parents need of it, so a change goes down from where it is made: worked
// out and checked for all nodes below before any of them hears of it.

import type { BlockChild, ChildRole } from './block-child.ts';
import { BlockError } from './block-error.ts';
import type { BlockNode } from './block-node.ts';
import type { NodeSettings } from './node-settings.ts';

/** What is read is what was written last (BLK_PERM_CONSISTENT_READ). */
export const PERM_CONSISTENT_READ = 1;
export const PERM_WRITE = 2;
/** Writes that change nothing anybody sees: copy on read. */
export const PERM_WRITE_UNCHANGED = 4;
export const PERM_RESIZE = 8;
export const PERM_ALL = 15;

/** Masks of `PERM_*`. */
export interface Permissions {
  /** What the parent needs. */
  readonly perm: number;
  /** What it lets others do. */
  readonly shared: number;
}

/** What a parent needs of a child, by what its own parents need of it together, and all of them share. */
export type ChildPermissions = (role: ChildRole, parents: Permissions) => Permissions;

const NO_OTHER_WRITER = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;

/**
 * A filter needs what is asked of it. Stricter than QEMU's: the backends of one node share it, for they are
 * one disk's; whoever comes to what is below by another way may not write while the filter is in use.
 */
export function passedOn({ perm, shared }: Permissions): Permissions {
  return { perm, shared: perm === 0 ? shared : shared & NO_OTHER_WRITER };
}

/**
 * The rules for drivers that have none of their own. A format keeps its file to itself, and writes to it
 * whenever it may. The base of an overlay is only read, and must stay as it is; but for a commit.
 */
export function defaultPermissions(
  role: ChildRole,
  { perm, shared }: Permissions,
  writable: boolean,
): Permissions {
  if (role === 'filtered') return passedOn({ perm, shared });
  const writes = writable ? PERM_WRITE | PERM_RESIZE : 0;
  if (role === 'backing') return { perm: PERM_CONSISTENT_READ | writes, shared: NO_OTHER_WRITER };
  return {
    perm: (perm & ~PERM_WRITE_UNCHANGED) | PERM_CONSISTENT_READ | writes,
    shared: NO_OTHER_WRITER,
  };
}

/**
 * Gives `edge`, which its node has among its parents, other permissions, and those below what follows
 * from that. Throws BlockError('EBUSY') that names both users, and then nothing has changed.
 */
export function setPermissions(edge: BlockChild, wanted: Permissions): void {
  planPermissions([edge.node], NOW, new Map([[edge, wanted]]))();
}

/** Takes `edge` from its node, whose other users need not share with it any more. */
export function detachEdge(edge: BlockChild): void {
  edge.node.quiescence.detach(edge);
  planPermissions([edge.node])();
}

/** What a node will be. */
export interface Prospect {
  readonly readOnly: boolean;
  readonly children: readonly BlockChild[];
  readonly settings: Pick<NodeSettings, 'forceShare'>;
}

/** What the graph will be, where that is not as it is. All edges there will be are attached to their nodes. */
export interface Prospects {
  of(node: BlockNode): Prospect;
  /** Edges that are still there, and will not be. */
  leaves(edge: BlockChild): boolean;
}

const NOW: Prospects = { of: (node) => node, leaves: () => false };

/**
 * Works out anew what holds on `nodes` and below. Throws as `setPermissions`; nothing has changed until the
 * answer is called, and then cannot fail.
 */
export function planPermissions(
  nodes: Iterable<BlockNode>,
  prospects: Prospects = NOW,
  plan: Map<BlockChild, Permissions> = new Map<BlockChild, Permissions>(),
): () => void {
  for (const node of parentsFirst(nodes, prospects)) {
    const { readOnly, children, settings } = prospects.of(node);
    const users: User[] = [];
    for (const [edge, parent] of node.quiescence.parents) {
      if (prospects.leaves(edge)) continue;
      const { perm, shared } = plan.get(edge) ?? edge;
      users.push({
        label: `${parent.label} as '${edge.role}'`,
        // What is read-only nobody writes to, whatever he asked for when it was not.
        perm: readOnly ? perm & PERM_CONSISTENT_READ : perm,
        shared: settings.forceShare ? PERM_ALL : shared,
      });
    }
    const all = together(node, users);
    for (const edge of children) {
      const writable = edge.role === 'backing' ? edge.writable : !readOnly;
      plan.set(edge, node.childPermissions(edge.role, all, writable));
    }
  }
  return () => {
    for (const [edge, { perm, shared }] of plan) {
      edge.perm = perm;
      edge.shared = shared;
    }
  };
}

interface User extends Permissions {
  readonly label: string;
}

/** What all of them need, and share. Throws BlockError where one needs what another does not share. */
function together(node: BlockNode, users: readonly User[]): Permissions {
  let perm = 0;
  let shared = PERM_ALL;
  for (const user of users) {
    for (const other of users) {
      const refused = user === other ? 0 : user.perm & ~other.shared;
      if (refused === 0) continue;
      throw new BlockError(
        'EBUSY',
        `${node.label}: ${user.label} needs '${NAMES[31 - Math.clz32(refused & -refused)]}', which ` +
          `${other.label} does not share. Close one of the two, or open it read-only`,
        { node: node.name },
      );
    }
    perm |= user.perm;
    shared &= user.shared;
  }
  return { perm, shared };
}

/** `tops` and all below them. */
function parentsFirst(tops: Iterable<BlockNode>, prospects: Prospects): readonly BlockNode[] {
  const placed = new Set<BlockNode>();
  const childrenFirst: BlockNode[] = [];
  const place = (node: BlockNode): void => {
    if (placed.has(node)) return;
    placed.add(node);
    for (const edge of prospects.of(node).children) place(edge.node);
    childrenFirst.push(node);
  };
  for (const node of tops) place(node);
  return childrenFirst.reverse();
}

const NAMES = ['consistent-read', 'write', 'write-unchanged', 'resize'];
