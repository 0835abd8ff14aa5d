// From running counts to rates: what a chart draws. Keeps the last minute.

import type { BlockNodeStats } from '../../index.ts';

/** Per second; null where one disk ends and the next begins. */
export type Rate = number | null;

/** Columns of the same length: seconds before now, and a rate for each. */
export interface RateTable {
  readonly seconds: readonly number[];
  readonly readOps: readonly Rate[];
  readonly writeOps: readonly Rate[];
  /** Bytes a second. */
  readonly readBytes: readonly Rate[];
  readonly writeBytes: readonly Rate[];
}

type Counted = Pick<BlockNodeStats, 'readOps' | 'writeOps' | 'readBytes' | 'writeBytes'>;

export const WINDOW_SECONDS = 60;
const RATES = ['readOps', 'writeOps', 'readBytes', 'writeBytes'] as const;

export class RateHistory {
  #last: { at: number; counts: Counted } | undefined;
  readonly #rows: { at: number; rates: readonly Rate[] }[] = [];

  /** Takes in the counts as they are at `at`, seconds. Counts that went back begin anew. */
  add(at: number, counts: Counted): void {
    const last = this.#last;
    this.#last = { at, counts };
    if (last === undefined || at <= last.at || counts.readOps < last.counts.readOps) {
      if (this.#rows.length > 0) this.#rows.push({ at, rates: RATES.map(() => null) });
      return;
    }
    const seconds = at - last.at;
    const rates = RATES.map((name) => Math.max(0, counts[name] - last.counts[name]) / seconds);
    this.#rows.push({ at, rates });
    while (this.#rows[0]!.at < at - WINDOW_SECONDS) this.#rows.shift();
  }

  /** The disk is another one: no rate spans both. */
  restart(): void {
    this.#last = undefined;
  }

  /** The last minute, oldest first; `seconds` ends with 0. */
  table(): RateTable {
    const now = this.#rows.at(-1)?.at ?? 0;
    const column = (i: number): Rate[] => this.#rows.map((row) => row.rates[i]!);
    return {
      seconds: this.#rows.map((row) => row.at - now),
      readOps: column(0),
      writeOps: column(1),
      readBytes: column(2),
      writeBytes: column(3),
    };
  }
}
