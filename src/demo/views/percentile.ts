// Percentiles of latency histograms (LatencyHistogram: powers of two of a microsecond). Pure.

/**
 * The time, in microseconds, that the share `q` of the requests did not exceed; undefined where there
 * were none. Within a bucket it is taken to grow evenly by factors.
 */
export function percentile(counts: readonly number[], q: number): number | undefined {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all === 0) return undefined;
  const wanted = q * all;
  let below = 0;
  for (let bucket = 0; bucket < counts.length; bucket++) {
    const count = counts[bucket]!;
    if (count > 0 && below + count >= wanted) return 2 ** (bucket - 1 + (wanted - below) / count);
    below += count;
  }
  return 2 ** (counts.length - 1);
}

/** `later - earlier`, bucket by bucket; no `earlier`: all of `later`. */
export function newCounts(later: readonly number[], earlier?: readonly number[]): number[] {
  return later.map((count, bucket) => count - (earlier?.[bucket] ?? 0));
}

/** Sums of histograms, bucket by bucket. */
export function sumCounts(...histograms: readonly (readonly number[])[]): number[] {
  const [first = [], ...others] = histograms;
  return first.map((count, i) => others.reduce((sum, other) => sum + other[i]!, count));
}
