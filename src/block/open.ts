// The way into the graph: opens what QEMU-style options describe.

import type { OptionTree } from '../base/options.ts';
import type { BlockNode } from './block-node.ts';
import type { Graph } from './graph.ts';
import { DEFAULT_SETTINGS } from './node-settings.ts';
import { Opening } from './opening.ts';
import type { OpenGraphOptions } from './opening.ts';

export type { OpenGraphOptions } from './opening.ts';

/**
 * Opens `options`: a name (`https://…`, `opfs:…`, `json:…`) or a tree with nested or dotted keys.
 * Answers the root, which stays open until `graph.blockdevDel`. Throws BlockError.
 */
export async function openGraph(
  graph: Graph,
  options: string | OptionTree,
  extra: OpenGraphOptions = {},
): Promise<BlockNode> {
  const opening = new Opening(graph, extra);
  try {
    const settings = { ...DEFAULT_SETTINGS, ...extra.cache };
    const readOnly = extra.readOnly ?? false;
    const place = { role: 'root', readOnly, settings, depth: 0, above: [] } as const;
    const root = await opening.open(options, place);
    graph.own(root);
    return root;
  } catch (error) {
    await opening.abandon();
    throw error;
  }
}
