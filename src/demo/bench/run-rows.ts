// Runs rows one after the other. One that fails is reported and the others go on; a cancelled run
// answers what was measured until then.

import { describeMachine } from './machine.ts';
import type { Rounds } from './rounds.ts';
import type { Places, Report, Row, RowResult } from './row.ts';

export interface RunOptions {
  readonly rounds: Rounds & { readonly signal: AbortSignal };
  readonly places: Places;
  /** The whole browser is on one CPU; nothing in here could tell. */
  readonly pinned: boolean;
  /** `row` begins, the `at`-th of `count`. */
  readonly onRow: (row: string, at: number, count: number) => void;
  /** What is known so far. */
  readonly onReport: (report: Report) => void;
}

export async function runRows(rows: readonly Row[], options: RunOptions): Promise<Report> {
  const { rounds, places, pinned, onRow, onReport } = options;
  const missing = (row: Row): string[] => (row.needs ?? []).filter((need) => !places[need]);
  const runnable = rows.filter((row) => missing(row).length === 0);
  const skipped = rows
    .filter((row) => !runnable.includes(row))
    .map((row) => ({
      name: row.name,
      reason: `there is no ${missing(row).join(' and no ')} here`,
    }));
  const results: RowResult[] = [];
  const failed: { name: string; reason: string }[] = [];
  let report: Report = {
    machine: await describeMachine(pinned),
    date: new Date().toISOString(),
    rounds: { count: rounds.count, ms: rounds.ms },
    rows: results,
    skipped,
    failed,
  };
  for (const [at, row] of runnable.entries()) {
    if (rounds.signal.aborted) break;
    onRow(row.name, at, runnable.length);
    try {
      results.push(await row.run({ rounds, places }));
    } catch (error) {
      if (!rounds.signal.aborted) failed.push({ name: row.name, reason: String(error) });
    }
    const next = rounds.signal.aborted ? undefined : runnable[at + 1];
    if (row.release !== next?.release) await row.release?.();
    report = { ...report, rows: [...results], failed: [...failed] };
    onReport(report);
  }
  return report;
}
