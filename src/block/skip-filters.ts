// What a filter stands before (bdrv_skip_filters): the node whose contents a user means.

import type { BlockNode } from './block-node.ts';

/** `node` itself, unless it is a filter: then the first node below that is none. */
export function skipFilters(node: BlockNode): BlockNode {
  let below = node;
  for (;;) {
    const filtered = below.children.find((edge) => edge.role === 'filtered');
    if (filtered === undefined) return below;
    below = filtered.node;
  }
}
