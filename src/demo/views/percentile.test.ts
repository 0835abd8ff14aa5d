// Percentiles of counts in powers of two.

import { describe, expect, it } from 'vitest';
import { newCounts, percentile, sumCounts } from './percentile.ts';

/** Counts by bucket, 32 of them. */
function histogram(filled: Record<number, number>): number[] {
  return Array.from({ length: 32 }, (_, bucket) => filled[bucket] ?? 0);
}

describe('percentile', () => {
  it('has none of nothing', () => {
    expect(percentile(histogram({}), 0.5)).toBeUndefined();
  });

  it('stays within the bucket that holds the request', () => {
    const counts = histogram({ 3: 90, 10: 9, 20: 1 });
    for (const [q, bucket] of [
      [0.5, 3],
      [0.9, 3],
      [0.95, 10],
      [0.99, 10],
      [1, 20],
    ] as const) {
      const value = percentile(counts, q)!;
      expect(value).toBeGreaterThan(2 ** (bucket - 1));
      expect(value).toBeLessThanOrEqual(2 ** bucket);
    }
  });

  it('grows with q', () => {
    const counts = histogram({ 0: 5, 4: 5 });
    const values = [0.1, 0.3, 0.5, 0.7, 1].map((q) => percentile(counts, q)!);
    expect(values).toEqual([...values].sort((a, b) => a - b));
    expect(values.at(-1)).toBe(16);
  });
});

describe('counts', () => {
  it('are subtracted and summed', () => {
    expect(newCounts([3, 5], [1, 5])).toEqual([2, 0]);
    expect(newCounts([3, 5])).toEqual([3, 5]);
    expect(sumCounts([1, 2], [3, 4], [5, 6])).toEqual([9, 12]);
  });
});
