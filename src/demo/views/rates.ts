// From running counts to what charts draw: rates, latency percentiles and queue depths of the time
// between two samples. Keeps the last minute.

import type { BlockNodeStats } from '../../index.ts';
import { newCounts, percentile, sumCounts } from './percentile.ts';

/** Null: nothing to tell, or where one disk ends and the next begins. */
export type Rate = number | null;

/**
 * Requests and bytes a second; time within which a share of the requests was answered, microseconds;
 * requests under way on average.
 */
export const RATE_COLUMNS = [
  'readOps', 'writeOps', 'readBytes', 'writeBytes', 'p50', 'p95', 'p99', 'readDepth', 'writeDepth',
] as const; // prettier-ignore

export type RateColumn = (typeof RATE_COLUMNS)[number];

/** Columns of the same length: seconds before now, and the values for each. */
export type RateTable = Readonly<Record<RateColumn, readonly Rate[]>> & {
  readonly seconds: readonly number[];
};

type Counted = Pick<
  BlockNodeStats,
  'readOps' | 'writeOps' | 'readBytes' | 'writeBytes' | 'latency'
>;

export const WINDOW_SECONDS = 60;
const NOTHING: readonly Rate[] = RATE_COLUMNS.map(() => null);

export class RateHistory {
  #last: { at: number; counts: Counted } | undefined;
  readonly #rows: { at: number; values: readonly Rate[] }[] = [];

  /** Takes in the counts as they are at `at`, seconds. Counts that went back begin anew. */
  add(at: number, counts: Counted): void {
    const last = this.#last;
    this.#last = { at, counts };
    if (last === undefined || at <= last.at || counts.readOps < last.counts.readOps) {
      if (this.#rows.length > 0) this.#rows.push({ at, values: NOTHING });
      return;
    }
    this.#rows.push({ at, values: valuesOf(last.counts, counts, at - last.at) });
    while (this.#rows[0]!.at < at - WINDOW_SECONDS) this.#rows.shift();
  }

  /** The disk is another one: no rate spans both. */
  restart(): void {
    this.#last = undefined;
  }

  /** The last minute, oldest first; `seconds` ends with 0. */
  table(): RateTable {
    const now = this.#rows.at(-1)?.at ?? 0;
    const columns = RATE_COLUMNS.map((name, i) => [name, this.#rows.map((row) => row.values[i]!)]);
    const seconds = this.#rows.map((row) => row.at - now);
    return { seconds, ...(Object.fromEntries(columns) as Record<RateColumn, Rate[]>) };
  }
}

/** In the order of RATE_COLUMNS. */
function valuesOf(earlier: Counted, later: Counted, seconds: number): Rate[] {
  const rate = (name: 'readOps' | 'writeOps' | 'readBytes' | 'writeBytes'): Rate =>
    Math.max(0, later[name] - earlier[name]) / seconds;
  const rates = [rate('readOps'), rate('writeOps'), rate('readBytes'), rate('writeBytes')];
  const { latency } = later;
  const before = earlier.latency;
  if (latency === undefined || before === undefined)
    return [...rates, null, null, null, null, null];
  const { rd, wr, flush } = latency;
  const counts = sumCounts(
    newCounts(rd.counts, before.rd.counts),
    newCounts(wr.counts, before.wr.counts),
    newCounts(flush.counts, before.flush.counts),
  );
  // Little's law: requests under way are the time that all of them took, in a time.
  const depth = (kind: 'rd' | 'wr'): Rate =>
    (latency[kind].totalNs - before[kind].totalNs) / (seconds * 1e9);
  const times = [0.5, 0.95, 0.99].map((q) => percentile(counts, q) ?? null);
  return [...rates, ...times, depth('rd'), depth('wr')];
}
