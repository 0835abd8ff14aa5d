// What a row of the benchmark is, and what it answers. The fields of a result are the table's columns
// and the JSON's keys.

import type { Rounds } from './rounds.ts';

/** What was counted while the row ran: requests, promises, host calls, interrupts … */
export type Counts = Readonly<Record<string, number>>;

export interface RowResult {
  readonly name: string;
  /** Median over the rounds, in `unit`. */
  readonly value: number;
  readonly unit: 'IOPS' | 'MB/s' | 'ns/request' | 'ms';
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
  /** When it began, ISO 8601. */
  readonly date: string;
  readonly rounds: Pick<Rounds, 'count' | 'ms'>;
  readonly rows: readonly RowResult[];
  /** Rows that cannot be run here, rows that could have been, and why they were not. */
  readonly skipped: readonly RowExcuse[];
  readonly failed: readonly RowExcuse[];
}

export interface RowExcuse {
  readonly name: string;
  readonly reason: string;
}

/** URLs of what not every page has at hand. */
export interface Places {
  /** A disk image of IMAGE_BYTES or more on a server that takes ranges, and `?delay=` milliseconds. */
  readonly image?: string;
  /** The folder of the Linux guest, with a slash at its end. */
  readonly guest?: string;
  /** The folder of SeaBIOS, with a slash at its end. */
  readonly firmware: string;
}

/** What `image` holds at least, bytes. */
export const IMAGE_BYTES: number = 1024 ** 3;

/** What a row is run with. */
export interface Bench {
  readonly rounds: Rounds;
  readonly places: Places;
}

export interface Row {
  readonly name: string;
  /** What is asked of `ratio`, and of `value` where it says so. */
  readonly target?: { readonly ratio: number; readonly value?: number };
  /** Places without which it cannot be run. */
  readonly needs?: readonly (keyof Places)[];
  run(bench: Bench): Promise<RowResult>;
  /** Ends what it keeps for other rows with the same function: called after the last of them. */
  readonly release?: () => Promise<void>;
}
