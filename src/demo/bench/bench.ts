// The benchmark's page: runs the rows that the address asks for (`?only=` is a regular expression),
// shows the table and the same as JSON, and leaves both where `npm run bench` picks them up.

import { describeMachine } from './machine.ts';
import { opfsRows } from './opfs-rows.ts';
import { parseRows } from './parse-rows.ts';
import { queueRows } from './queue-rows.ts';
import { DEFAULT_ROUNDS } from './rounds.ts';
import type { Report, Row, RowResult } from './row.ts';
import { formatReport } from './table.ts';

/** What `npm run bench` waits for: one of the two. */
interface Outcome {
  readonly text: string;
  readonly report?: Report;
  readonly error?: string;
}

declare global {
  /** Told which row runs. */
  var benchProgress: ((row: string) => void) | undefined;
  var benchOutcome: Outcome | undefined;
}

const ALL: readonly Row[] = [...queueRows, ...opfsRows, ...parseRows];
const screen: HTMLElement = document.getElementById('report')!;

async function run(): Promise<void> {
  const asked = new URL(location.href).searchParams;
  const only = new RegExp(asked.get('only') ?? '');
  const rows = ALL.filter(({ name }) => only.test(name));
  if (rows.length === 0) {
    throw new Error(`no row matches ${only}; there are ${ALL.map((row) => row.name).join(', ')}`);
  }
  const rounds = { ...DEFAULT_ROUNDS, count: Number(asked.get('rounds') ?? DEFAULT_ROUNDS.count) };
  const machine = await describeMachine(asked.has('pinned'));
  const results: RowResult[] = [];
  for (const row of rows) {
    screen.textContent = `${row.name} (${results.length + 1} of ${rows.length}) …`;
    globalThis.benchProgress?.(row.name);
    results.push(await row.run(rounds));
  }
  const report = { machine, rounds, rows: results };
  const text = formatReport(report, ALL);
  screen.textContent = text;
  document.getElementById('json')!.textContent = JSON.stringify(report, null, 2);
  globalThis.benchOutcome = { text, report };
}

run().catch((error: unknown) => {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  screen.textContent = text;
  globalThis.benchOutcome = { text, error: text };
});
