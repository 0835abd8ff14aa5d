// Where the boxes of a block graph go: a layer for each step from the guest, children left to right
// in the order of their edges, a parent in the middle above its children. Columns are counted, not
// measured, so that the page can stretch them.

import type { BlockNodeInfo } from '../../index.ts';

export interface PlacedNode {
  readonly node: BlockNodeInfo;
  /** From the top, 0 for the root. */
  readonly layer: number;
  /** Middle of the box, in columns: 0.5 is the middle of the first. */
  readonly column: number;
}

export interface PlacedEdge {
  readonly role: string;
  readonly parent: string;
  readonly child: string;
}

export interface GraphLayout {
  readonly nodes: readonly PlacedNode[];
  readonly edges: readonly PlacedEdge[];
  readonly columns: number;
  readonly layers: number;
}

/** A node with several parents is placed below the first; cycles cannot be in a block graph. */
export function layOutGraph(nodes: readonly BlockNodeInfo[], root: string): GraphLayout {
  const byName = new Map(nodes.map((node) => [node.nodeName, node]));
  const placed = new Map<string, PlacedNode>();
  const edges: PlacedEdge[] = [];
  let columns = 0;
  let layers = 0;

  const place = (name: string, layer: number): number => {
    const node = byName.get(name)!;
    layers = Math.max(layers, layer + 1);
    const middles: number[] = [];
    const started = columns;
    for (const child of node.children) {
      if (!byName.has(child.nodeName)) continue;
      edges.push({ role: child.role, parent: name, child: child.nodeName });
      const known = placed.get(child.nodeName);
      if (known === undefined) middles.push(place(child.nodeName, layer + 1));
    }
    if (columns === started) columns += 1;
    const column =
      middles.length === 0 ? columns - 0.5 : (middles[0]! + middles[middles.length - 1]!) / 2;
    placed.set(name, { node, layer, column });
    return column;
  };
  if (byName.has(root)) place(root, 0);
  return { nodes: [...placed.values()], edges, columns, layers };
}
