// What nodes and backends tell about themselves (QMP's query-named-block-nodes, query-blockstats):
// plain data that can be sent to another thread.

import type { BlockBackend } from './block-backend.ts';
import type { BlockNode } from './block-node.ts';
import type { LatencyHistogram } from './latency-histogram.ts';

/** A node. */
export interface BlockNodeInfo {
  readonly nodeName: string;
  readonly driver: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  /** The name that opens it again. */
  readonly filename: string;
  readonly readOnly: boolean;
  /** Bytes. */
  readonly length: number;
  readonly children: readonly {
    readonly role: string;
    readonly nodeName: string;
    readonly writable: boolean;
  }[];
  /** Who uses it: `backend 'x'`, `node 'y'`. */
  readonly users: readonly string[];
  /** Facts of the driver: cluster size, ETag, slow mode … */
  readonly info: Readonly<Record<string, unknown>>;
  /** The driver's last exception, a bug of ours; undefined when there was none. */
  readonly lastBug?: string;
}

/** How long requests took. */
export interface LatencyStats {
  /** Requests by time, powers of two of a microsecond (LatencyHistogram). */
  readonly counts: readonly number[];
  /** Of all of them together, nanoseconds. */
  readonly totalNs: number;
}

/** Running counts of a node. Operations and bytes since it was opened. */
export interface BlockNodeStats {
  readonly nodeName: string;
  readonly readOps: number;
  readonly writeOps: number;
  readonly flushOps: number;
  readonly discardOps: number;
  readonly zeroOps: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly zeroBytes: number;
  readonly discardBytes: number;
  readonly errors: number;
  readonly inFlight: number;
  /** Requests answered with a number, at once. */
  readonly answeredSync: number;
  /** Requests that took a promise. */
  readonly promises: number;
  /** Counts of the driver's own: cache hits, host calls, retries … */
  readonly counters: Readonly<Record<string, number>>;
  /** Every request, zero writes and discards as writes, since `blockLatencyHistogramSet(true)`. */
  readonly latency?: {
    readonly rd: LatencyStats;
    readonly wr: LatencyStats;
    readonly flush: LatencyStats;
  };
}

/** A backend. */
export interface BlockBackendInfo {
  readonly name: string;
  readonly nodeName: string | null;
  readonly readOnly: boolean;
  readonly enableWriteCache: boolean;
  /** Bytes. */
  readonly length: number;
  readonly stats: Readonly<Record<string, number>>;
  /** Requests that took a promise by time, powers of two of a microsecond (LatencyHistogram). */
  readonly latency: {
    readonly rd: readonly number[];
    readonly wr: readonly number[];
    readonly flush: readonly number[];
  };
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

export function nodeStats(node: BlockNode): BlockNodeStats {
  const { stats, latency } = node;
  return {
    nodeName: node.name,
    readOps: stats.rdOperations,
    writeOps: stats.wrOperations,
    flushOps: stats.flushOperations,
    discardOps: stats.unmapOperations,
    zeroOps: stats.zeroOperations,
    readBytes: stats.rdBytes,
    writeBytes: stats.wrBytes,
    zeroBytes: stats.zeroBytes,
    discardBytes: stats.unmapBytes,
    errors:
      stats.failedRdOperations +
      stats.failedWrOperations +
      stats.failedZeroOperations +
      stats.failedUnmapOperations +
      stats.failedFlushOperations,
    inFlight: stats.inFlight,
    answeredSync: stats.answeredSync,
    promises: stats.promises,
    counters: node.state.counters?.() ?? {},
    ...(latency === undefined
      ? {}
      : {
          latency: {
            rd: latencyStats(latency.rd),
            wr: latencyStats(latency.wr),
            flush: latencyStats(latency.flush),
          },
        }),
  };
}

function latencyStats(histogram: LatencyHistogram): LatencyStats {
  return { counts: histogram.snapshot(), totalNs: histogram.totalNs };
}

export function backendInfo(backend: BlockBackend): BlockBackendInfo {
  const { stats, latency } = backend;
  const { rd, wr, flush } = latency;
  return {
    name: backend.name,
    nodeName: backend.root?.name ?? null,
    readOnly: backend.readOnly,
    enableWriteCache: backend.enableWriteCache,
    length: backend.length,
    stats: stats.snapshot(),
    latency: { rd: rd.snapshot(), wr: wr.snapshot(), flush: flush.snapshot() },
  };
}
