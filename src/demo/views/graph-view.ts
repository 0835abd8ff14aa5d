// The block graph as boxes and edges. The shape is drawn anew only when the graph changes; counts are
// text put into boxes that keep their size, so nothing moves while the guest works.

import type { BlockNodeStats, DiskStats } from '../../index.ts';
import { make, setText } from '../elements.ts';
import { layOutGraph } from './graph-layout.ts';
import type { GraphLayout, PlacedNode } from './graph-layout.ts';
import { activity, nodeFacts, nodeFigures } from './node-figures.ts';

interface Row {
  readonly value: HTMLElement;
  readonly count: HTMLElement;
  readonly time: HTMLElement;
}

interface Box {
  readonly box: HTMLElement;
  readonly figures: HTMLElement;
  readonly rows: Map<string, Row>;
  /** The counts that it shows. */
  last: BlockNodeStats | undefined;
}

const SVG = 'http://www.w3.org/2000/svg';

export class GraphView {
  readonly #container: HTMLElement;
  readonly #boxes = new Map<string, Box>();
  readonly #edges = new Map<string, SVGElement>();
  readonly #svg: SVGSVGElement = document.createElementNS(SVG, 'svg');
  #shape = '';
  #layout: GraphLayout = { nodes: [], edges: [], columns: 0, layers: 0 };

  constructor(container: HTMLElement) {
    this.#container = container;
    this.#svg.setAttribute('aria-hidden', 'true');
    this.showNone();
    // Fonts and widths change where boxes end; edges follow.
    new ResizeObserver(() => this.#drawEdges()).observe(container);
  }

  /** No disk is open. */
  showNone(): void {
    if (this.#boxes.size > 0) {
      for (const { box } of this.#boxes.values()) box.dataset['active'] = 'false';
      return;
    }
    this.#container.replaceChildren(make('p', 'fine', 'The graph appears when the disk is open.'));
  }

  /** Draws the graph below `root` with the counts of now. */
  update(stats: DiskStats, root: string): void {
    const shape = JSON.stringify(
      stats.nodes.map((node) => [node.nodeName, node.driver, node.children]),
    );
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#layout = layOutGraph(stats.nodes, root);
      this.#build();
    }
    const infos = new Map(stats.nodes.map((node) => [node.nodeName, node]));
    for (const counts of stats.counts) {
      const box = this.#boxes.get(counts.nodeName);
      if (box === undefined) continue;
      this.#updateBox(box, counts);
      const facts = box.box.querySelector<HTMLElement>('.facts')!;
      setText(facts, nodeFacts(infos.get(counts.nodeName)!));
      facts.title = facts.textContent;
    }
  }

  #build(): void {
    const { columns, layers, nodes } = this.#layout;
    this.#boxes.clear();
    const grid = make('ol', 'nodes');
    // Two grid tracks to a column, so that a parent can stand in the middle of two.
    grid.style.setProperty('--tracks', String(2 * columns));
    grid.style.setProperty('--layers', String(layers));
    const ordered = [...nodes].sort((a, b) => a.layer - b.layer || a.column - b.column);
    for (const placed of ordered) grid.append(this.#makeBox(placed));
    this.#container.replaceChildren(this.#svg, grid);
    this.#drawEdges();
  }

  #makeBox({ node, layer, column }: PlacedNode): HTMLElement {
    const box = make('li', 'node');
    box.dataset['testid'] = 'node';
    box.dataset['node'] = node.nodeName;
    box.dataset['kind'] = node.kind;
    box.style.gridRow = String(layer + 1);
    box.style.gridColumn = `${Math.floor(2 * column)} / span 2`;
    const roles = this.#layout.edges.filter((edge) => edge.child === node.nodeName);
    const head = make('div', 'node-head');
    head.append(make('strong', '', node.driver));
    const role = roles.map((edge) => edge.role).join(', ');
    head.append(make('span', 'role', role === '' ? 'virtio-blk' : role));
    const figures = make('dl');
    box.append(head, make('div', 'node-name', node.nodeName), make('div', 'facts'), figures);
    this.#boxes.set(node.nodeName, { box, figures, rows: new Map(), last: undefined });
    return box;
  }

  #updateBox(box: Box, counts: BlockNodeStats): void {
    const { last } = box;
    for (const { name, value, count, time } of nodeFigures(counts, last)) {
      const row = box.rows.get(name) ?? addRow(box, name);
      setText(row.value, value);
      setText(row.count, count);
      // A quiet moment says nothing of how long requests take.
      if (time !== '') setText(row.time, time);
    }
    const active = String(last !== undefined && activity(counts) > activity(last));
    const moved = last === undefined ? 0 : bytesOf(counts) - bytesOf(last);
    box.last = counts;
    const edge = this.#edges.get(counts.nodeName);
    edge?.style.setProperty('stroke-width', String(edgeWidth(moved)));
    if (box.box.dataset['active'] !== active) {
      box.box.dataset['active'] = active;
      edge?.setAttribute('data-active', active);
    }
  }

  #drawEdges(): void {
    this.#edges.clear();
    this.#svg.replaceChildren();
    const { width, height, left, top } = this.#container.getBoundingClientRect();
    this.#svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    for (const { parent, child } of this.#layout.edges) {
      const from = this.#boxes.get(parent)!.box.getBoundingClientRect();
      const to = this.#boxes.get(child)!.box.getBoundingClientRect();
      const x1 = from.left + from.width / 2 - left;
      const x2 = to.left + to.width / 2 - left;
      const y1 = from.bottom - top;
      const y2 = to.top - top;
      const middle = (y1 + y2) / 2;
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('d', `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`);
      this.#svg.append(path);
      this.#edges.set(child, path);
    }
  }
}

function addRow(box: Box, name: string): Row {
  const row = { value: make('dd'), count: make('dd', 'count'), time: make('dd', 'time') };
  row.count.title = name === 'hits' ? 'cache hits' : 'requests';
  row.time.title = 'average time of a request, lately';
  box.figures.append(make('dt', '', name), row.value, row.count, row.time);
  for (const [part, cell] of Object.entries(row)) cell.dataset['figure'] = `${name} ${part}`;
  box.rows.set(name, row);
  return row;
}

function bytesOf({ readBytes, writeBytes }: BlockNodeStats): number {
  return readBytes + writeBytes;
}

/** Of an edge over which `bytes` went since the last sample, pixels. */
function edgeWidth(bytes: number): number {
  return 2 + Math.min(4, Math.log2(1 + bytes / 65536) / 2);
}
