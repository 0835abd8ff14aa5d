// How long requests took, in powers of two (query-blockstats' latency histograms). Only requests
// that took a promise are timed: the clock costs more than an answer at once.

/** Bucket 0: up to 1 µs; bucket i: up to 2^i µs; the last: all above. */
export const LATENCY_BUCKETS = 32;

export class LatencyHistogram {
  readonly counts: Float64Array = new Float64Array(LATENCY_BUCKETS);

  /** Enters a request that took `ns` nanoseconds. */
  add(ns: number): void {
    const bucket = ns < 1000 ? 0 : Math.min(LATENCY_BUCKETS - 1, Math.ceil(Math.log2(ns / 1000)));
    this.counts[bucket]! += 1;
  }

  /** A copy. Those answered at once are not in it: their number is `BlockStats.answeredSync`. */
  snapshot(): number[] {
    return [...this.counts];
  }
}
