// What a row of the benchmark is, and what it answers. The fields of a result are the table's columns
// and the JSON's keys.

import type { Rounds } from './rounds.ts';

/** What was counted while the row ran: requests, promises, host calls, interrupts … */
export type Counts = Readonly<Record<string, number>>;

export interface RowResult {
  readonly name: string;
  /** Median over the rounds, in `unit`. */
  readonly value: number;
  readonly unit: 'IOPS' | 'ns/request';
  /** Median of the baseline's rounds, in `unit`. */
  readonly baseline: number;
  /** Median over the rounds of our speed by the baseline's; above 1 we are quicker. */
  readonly ratio: number;
  readonly counts: Counts;
}

/** Where something ran, and therefore what its figures can be compared with. */
export interface Machine {
  readonly browser: string;
  /** CPUs that the browser reports. */
  readonly cores: number;
  readonly crossOriginIsolated: boolean;
  /** False where storage is slow and forgets, as in a private window: its OPFS rows say nothing. */
  readonly persistentProfile: boolean;
  /** Nanoseconds of one 4 KiB read from OPFS: what `persistentProfile` was concluded from. */
  readonly opfsReadNs: number;
  readonly pinned: boolean;
}

export interface Report {
  readonly machine: Machine;
  readonly rounds: Rounds;
  readonly rows: readonly RowResult[];
}

export interface Row {
  readonly name: string;
  /** What is asked of `ratio`, and of `value` where it says so. */
  readonly target?: { readonly ratio: number; readonly value?: number };
  run(rounds: Rounds): Promise<RowResult>;
}
