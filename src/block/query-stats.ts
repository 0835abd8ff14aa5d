// The running counts of nodes and backends (QMP's query-blockstats): plain data that can be sent to
// another thread.

import type { BlockBackend } from './block-backend.ts';
import type { BlockNode } from './block-node.ts';
import type { LatencyHistogram } from './latency-histogram.ts';

/** How long requests took. */
export interface LatencyStats {
  /** Requests by time: the first is of those up to 1 µs, number i up to 2^i µs, the last of all above. */
  readonly counts: readonly number[];
  /** Of all of them together, nanoseconds. */
  readonly totalNs: number;
}

/**
 * Running counts of a node since it was opened, moves between threads included. Operations that failed
 * count; bytes are of those that did not.
 */
export interface BlockNodeStats {
  /** As `BlockNodeInfo.nodeName`. */
  readonly nodeName: string;
  /** Reads. */
  readonly readOps: number;
  /** Writes of data. */
  readonly writeOps: number;
  /** Flushes; those that shared one count each. */
  readonly flushOps: number;
  /** Discards. */
  readonly discardOps: number;
  /** Writes of zeroes that were asked for as such. */
  readonly zeroOps: number;
  /** Bytes that were read. */
  readonly readBytes: number;
  /** Bytes that were written. */
  readonly writeBytes: number;
  /** Bytes that were made to read as zeroes. */
  readonly zeroBytes: number;
  /** Bytes that were discarded. */
  readonly discardBytes: number;
  /** Operations that failed; without those refused beforehand (out of range, read-only). */
  readonly errors: number;
  /** Requests that took a promise and are under way. */
  readonly inFlight: number;
  /** Requests answered with a number, at once. */
  readonly answeredSync: number;
  /** Requests that took a promise. */
  readonly promises: number;
  /** Counts of the driver's own: cache hits, host calls, retries … */
  readonly counters: Readonly<Record<string, number>>;
  /** Every request, zero writes and discards as writes, since `blockLatencyHistogramSet(true)`. */
  readonly latency?: {
    /** Reads. */
    readonly rd: LatencyStats;
    /** Writes. */
    readonly wr: LatencyStats;
    /** Flushes. */
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
