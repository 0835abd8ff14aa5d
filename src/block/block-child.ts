// An edge of the graph (BdrvChild): how a parent reaches a child, and in what role.

import type { IOVector } from '../base/io-vector.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import type { BlockLimits, BlockStatus } from './block-driver.ts';
import type { BlockNode } from './block-node.ts';
import { PERM_ALL } from './permissions.ts';

/** QEMU's names for what a child is to its parent. */
export type ChildRole = 'root' | 'file' | 'backing' | 'data-file' | 'filtered';

/** Forwards to the node it points at. Parents hold edges, never nodes. */
export class BlockChild {
  readonly role: ChildRole;
  readonly node: BlockNode;
  /** True when the parent may write through this edge. A reopen changes it, and a commit for its duration. */
  writable: boolean;
  /** Masks of `PERM_*`: what the parent needs, and lets others do. Changed by `permissions.ts` alone. */
  perm = 0;
  shared: number = PERM_ALL;

  constructor(role: ChildRole, node: BlockNode, writable: boolean) {
    this.role = role;
    this.node = node;
    this.writable = writable;
  }

  /** Bytes. */
  get length(): number {
    return this.node.length;
  }
  get limits(): BlockLimits {
    return this.node.limits;
  }
  preadv(offset: number, qiov: IOVector, flags = 0): MaybeRet {
    return this.node.preadv(offset, qiov, flags);
  }
  pwritev(offset: number, qiov: IOVector, flags = 0): MaybeRet {
    return this.node.pwritev(offset, qiov, flags);
  }
  pwriteZeroes(offset: number, bytes: number, flags = 0): MaybeRet {
    return this.node.pwriteZeroes(offset, bytes, flags);
  }
  pdiscard(offset: number, bytes: number): MaybeRet {
    return this.node.pdiscard(offset, bytes);
  }
  flush(): MaybeRet {
    return this.node.flush();
  }
  blockStatus(offset: number, bytes: number): BlockStatus | Ret | Promise<BlockStatus | Ret> {
    return this.node.blockStatus(offset, bytes);
  }
  /** Which version of its contents the child has; see NodeControl. Throws BlockError. */
  generation(): Promise<string> {
    return this.node.generation();
  }
  /** Changes the child's length; new bytes read as zeroes. Needs `writable`. */
  truncate(length: number): Promise<Ret> {
    return this.node.truncate(length);
  }
}
