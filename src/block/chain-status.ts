// Which layer of a backing chain defines a run of bytes (bdrv_block_status_above): asks the top one
// and, where it has nothing of its own, the next one below.

import type { Ret } from '../base/ret.ts';
import type { BlockBackend } from './block-backend.ts';
import type { BlockNode } from './block-node.ts';
import { skipFilters } from './skip-filters.ts';

/** A run of bytes, and where a reader at the top finds them. */
export interface ChainStatus {
  /** Length of the run, bytes; > 0, perhaps less than asked. */
  readonly bytes: number;
  /** How many layers below the top. */
  readonly depth: number;
  /** The layer at `depth` defines them; false where none does, and they read as zeroes. */
  readonly present: boolean;
  /** They are known to read as zeroes. */
  readonly zero: boolean;
  /** The layer at `depth`. */
  readonly node: BlockNode;
}

/** The state at `offset`, seen from where `backend` is plugged in. A number is a negated errno. */
export async function blockStatusAbove(
  backend: BlockBackend,
  offset: number,
  bytes: number,
): Promise<ChainStatus | Ret> {
  return backend.whileThere((root) => statusAbove(root, offset, bytes));
}

async function statusAbove(
  top: BlockNode,
  offset: number,
  bytes: number,
): Promise<ChainStatus | Ret> {
  let node = skipFilters(top);
  let left = bytes;
  for (let depth = 0; ; depth++) {
    const answer = node.blockStatus(offset, left);
    const status = answer instanceof Promise ? await answer : answer;
    if (typeof status === 'number') return status;
    left = Math.min(left, status.bytes);
    const { allocated: present, zero } = status;
    if (present || zero) return { bytes: left, depth, present, zero, node };
    const below = node.children.find((edge) => edge.role === 'backing');
    const there = below === undefined ? 0 : below.length - offset;
    if (below === undefined || there <= 0) {
      return { bytes: left, depth, present: false, zero: true, node };
    }
    left = Math.min(left, there);
    node = skipFilters(below.node);
  }
}
