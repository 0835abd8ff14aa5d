// Graphs as they occur: one node, an overlay over a remote image, two parents of one node.

import { describe, expect, it } from 'vitest';
import type { BlockNodeInfo } from '../../index.ts';
import { layOutGraph } from './graph-layout.ts';

function node(nodeName: string, children: Readonly<Record<string, string>> = {}): BlockNodeInfo {
  return {
    nodeName,
    driver: 'raw',
    kind: 'format',
    readOnly: false,
    length: 0,
    children: Object.entries(children).map(([role, child]) => ({
      role,
      nodeName: child,
      writable: true,
    })),
    info: {},
    filename: nodeName,
    users: [],
  };
}

function places(nodes: readonly BlockNodeInfo[], root: string): Record<string, [number, number]> {
  const { nodes: placed } = layOutGraph(nodes, root);
  return Object.fromEntries(placed.map((p) => [p.node.nodeName, [p.layer, p.column]]));
}

describe('layOutGraph', () => {
  it('is empty without the root', () => {
    expect(layOutGraph([], 'x')).toEqual({ nodes: [], edges: [], columns: 0, layers: 0 });
  });

  it('puts an overlay over the middle of its file and its backing', () => {
    const graph = [
      node('overlay', { file: 'opfs', backing: 'raw' }),
      node('raw', { file: 'http' }),
      node('opfs'),
      node('http'),
      node('stranger'),
    ];
    expect(places(graph, 'overlay')).toEqual({
      overlay: [0, 1],
      opfs: [1, 0.5],
      raw: [1, 1.5],
      http: [2, 1.5],
    });
    const { edges, columns, layers } = layOutGraph(graph, 'overlay');
    expect([columns, layers]).toEqual([2, 3]);
    expect(edges.map((edge) => edge.role).sort()).toEqual(['backing', 'file', 'file']);
  });

  it('places a node with two parents once, with both edges', () => {
    const graph = [
      node('a', { x: 'b', y: 'c' }),
      node('b', { file: 'd' }),
      node('c', { file: 'd' }),
    ];
    const { nodes, edges } = layOutGraph([...graph, node('d')], 'a');
    expect(nodes.filter((placed) => placed.node.nodeName === 'd')).toHaveLength(1);
    expect(edges.filter((edge) => edge.child === 'd')).toHaveLength(2);
  });
});
