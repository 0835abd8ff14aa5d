// What the rounds of a row come to. Medians throughout: the machine is shared, and one round that lost
// its CPU to somebody else must not show.

/** The middle value; the mean of the two middle ones where their number is even. NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Median of the quotients `values[i] / baselines[i]`: of rounds measured side by side. */
export function medianRatio(values: readonly number[], baselines: readonly number[]): number {
  return median(values.map((value, i) => value / baselines[i]!));
}

/** The smallest value that a part `q` of all, above 0 and at most 1, does not exceed. NaN for none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(q * sorted.length) - 1] ?? NaN;
}
