// How long requests took, in powers of two (query-blockstats' latency histograms). A clock costs more
// than an answer at once: a backend times what took a promise, a node everything, when asked to.

/** Bucket 0: up to 1 µs; bucket i: up to 2^i µs; the last: all above. */
export const LATENCY_BUCKETS = 32;

export class LatencyHistogram {
  readonly counts: Float64Array = new Float64Array(LATENCY_BUCKETS);
  /** Of all requests in it, nanoseconds (rd_total_time_ns …). */
  totalNs = 0;

  /** Enters a request that took `ns` nanoseconds. */
  add(ns: number): void {
    const bucket = ns < 1000 ? 0 : Math.min(LATENCY_BUCKETS - 1, Math.ceil(Math.log2(ns / 1000)));
    this.counts[bucket]! += 1;
    this.totalNs += ns;
  }

  /** A copy. */
  snapshot(): number[] {
    return [...this.counts];
  }
}

/** What a node that times its requests keeps; zero writes and discards count as writes. */
export class NodeLatency {
  readonly rd: LatencyHistogram = new LatencyHistogram();
  readonly wr: LatencyHistogram = new LatencyHistogram();
  readonly flush: LatencyHistogram = new LatencyHistogram();
}
