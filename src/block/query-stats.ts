// The running counts of nodes and backends (QMP's query-blockstats): plain data that can be sent to
// another thread.

import type { BlockBackend } from './block-backend.ts';
import type { BlockNode } from './block-node.ts';
import type { LatencyHistogram } from './latency-histogram.ts';

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
