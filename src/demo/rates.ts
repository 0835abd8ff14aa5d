// From running counts to rates: what a chart draws. Keeps the last minute.

import type { BlockNodeStats } from '../index.ts';

/** Columns of the same length: seconds before now, and a rate for each. */
export interface RateTable {
  readonly seconds: readonly number[];
  readonly readOps: readonly number[];
  readonly writeOps: readonly number[];
  /** Bytes a second. */
  readonly readBytes: readonly number[];
  readonly writeBytes: readonly number[];
}

type Counted = Pick<BlockNodeStats, 'readOps' | 'writeOps' | 'readBytes' | 'writeBytes'>;
type Column = keyof RateTable;

export const WINDOW_SECONDS = 60;
const COLUMNS: readonly Column[] = ['seconds', 'readOps', 'writeOps', 'readBytes', 'writeBytes'];

export class RateHistory {
  #last: { at: number; counts: Counted } | undefined;
  readonly #rows: number[][] = [];

  /** Takes in the counts as they are at `at`, seconds. Counts that went back begin anew. */
  add(at: number, counts: Counted): void {
    const last = this.#last;
    this.#last = { at, counts };
    if (last === undefined || at <= last.at || counts.readOps < last.counts.readOps) return;
    const rate = (name: keyof Counted): number =>
      Math.max(0, counts[name] - last.counts[name]) / (at - last.at);
    this.#rows.push([at, rate('readOps'), rate('writeOps'), rate('readBytes'), rate('writeBytes')]);
    while (this.#rows.length > 0 && this.#rows[0]![0]! < at - WINDOW_SECONDS) this.#rows.shift();
  }

  /** The disk is another one: no rate spans both. */
  restart(): void {
    this.#last = undefined;
  }

  /** The last minute, oldest first; `seconds` ends with 0. */
  table(): RateTable {
    const now = this.#rows.at(-1)?.[0] ?? 0;
    const columns = COLUMNS.map((_name, i) =>
      this.#rows.map((row) => (i === 0 ? row[0]! - now : row[i]!)),
    );
    return Object.fromEntries(COLUMNS.map((name, i) => [name, columns[i]])) as unknown as RateTable;
  }
}
