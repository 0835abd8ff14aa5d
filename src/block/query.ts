// What nodes tell about themselves (QMP's query-named-block-nodes): plain data that can be sent to
// another thread.

import type { BlockNode } from './block-node.ts';

/** A node. */
export interface BlockNodeInfo {
  /** `node-name`, or what was made up for it. */
  readonly nodeName: string;
  /** Name of its driver. */
  readonly driver: string;
  /** Where bytes live, what they mean, or what happens on the way. */
  readonly kind: 'protocol' | 'format' | 'filter';
  /** The name that opens it again. */
  readonly filename: string;
  /** Nobody can write to it. */
  readonly readOnly: boolean;
  /** Bytes. */
  readonly length: number;
  /** The nodes below it. */
  readonly children: readonly {
    /** What it is for: 'file', 'backing' … */
    readonly role: string;
    /** Its name. */
    readonly nodeName: string;
    /** The node above may write to it. */
    readonly writable: boolean;
  }[];
  /** Who uses it: `backend 'x'`, `node 'y'`. */
  readonly users: readonly string[];
  /** Facts of the driver: cluster size, ETag, slow mode … */
  readonly info: Readonly<Record<string, unknown>>;
  /** The driver's last exception, a bug of ours; undefined when there was none. */
  readonly lastBug?: string;
}

export function nodeInfo(node: BlockNode): BlockNodeInfo {
  return {
    nodeName: node.name,
    driver: node.driver,
    kind: node.kind,
    filename: node.filename,
    readOnly: node.readOnly,
    length: node.length,
    children: node.children.map((edge) => ({
      role: edge.role,
      nodeName: edge.node.name,
      writable: edge.writable,
    })),
    users: [...node.quiescence.parents.values()].map((parent) => parent.label),
    info: node.state.info?.() ?? {},
    ...(node.lastBug === undefined ? {} : { lastBug: node.lastBug }),
  };
}
