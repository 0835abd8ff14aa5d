// The benchmark's page. A person picks rows and presses Run; `npm run bench` opens it with `?report=URL`,
// and then it runs at once and posts there what it does and what came out, so that no debugger need
// be attached to the browser that is measured. `?only=` leaves out rows whose name does not match.

import { BenchPage } from './bench-page.ts';
import { httpRows } from './http-rows.ts';
import { idbRows } from './idb-rows.ts';
import { iothreadRows } from './iothread-rows.ts';
import { moveRows } from './move-rows.ts';
import { opfsRows } from './opfs-rows.ts';
import { parseRows } from './parse-rows.ts';
import { queueRows } from './queue-rows.ts';
import { DEFAULT_ROUNDS } from './rounds.ts';
import type { Places, Report, Row } from './row.ts';
import { runRows } from './run-rows.ts';
import { formatReport } from './table.ts';
import { v86Rows } from './v86-rows.ts';

const query = new URLSearchParams(location.search);
const only = new RegExp(query.get('only') ?? '');
const all: readonly Row[] = [
  ...queueRows,
  ...iothreadRows,
  ...parseRows,
  ...opfsRows,
  ...idbRows,
  ...httpRows,
  ...v86Rows,
  ...moveRows,
];
const chosen: readonly Row[] = all.filter(({ name }) => only.test(name));
const page = new BenchPage(chosen);

/** Runs rows, shows what comes of it, and answers it. */
async function measure(rows: readonly Row[], tell: (row: string) => void): Promise<Report> {
  const signal = page.begin();
  try {
    const count = Number(query.get('rounds') ?? DEFAULT_ROUNDS.count);
    const ms = Number(query.get('ms') ?? DEFAULT_ROUNDS.ms);
    const warmUpMs = Math.min(DEFAULT_ROUNDS.warmUpMs, 3 * ms);
    const report = await runRows(rows, {
      rounds: { count, ms, warmUpMs, signal },
      places: await findPlaces(),
      pinned: query.has('pinned'),
      onRow: (row, at, of) => {
        page.progress(row, at, of);
        tell(row);
      },
      onReport: (report) => page.show(formatReport(report, chosen)),
    });
    page.show(formatReport(report, chosen));
    page.end(signal.aborted ? 'Cancelled.' : 'Done.');
    return report;
  } catch (error) {
    page.end(`It failed: ${String(error)}`);
    throw error;
  }
}

/** The guest lies where the dev server and `npm run bench` have it, if it was built. */
async function findPlaces(): Promise<Places> {
  const image = query.get('image');
  const guest = new URL('../guest/', location.href).href;
  const answer = await fetch(`${guest}guest.json`).catch(() => undefined);
  const built = answer?.ok === true && answer.headers.get('content-type') === 'application/json';
  return {
    firmware: new URL('../bios/', location.href).href,
    ...(built ? { guest } : {}),
    ...(image === null ? {} : { image: new URL(image, location.href).href }),
  };
}

/** For `npm run bench`. */
async function runForReport(url: string): Promise<void> {
  const post = async (what: Record<string, unknown>): Promise<void> => {
    await fetch(url, { method: 'POST', body: JSON.stringify(what) });
  };
  try {
    if (chosen.length === 0) {
      throw new Error(
        `no row matches ${only}; there are ${all.map(({ name }) => name).join(', ')}`,
      );
    }
    const report = await measure(chosen, (row) => void post({ row }));
    await post({ report, text: formatReport(report, chosen) });
  } catch (error) {
    await post({ error: error instanceof Error ? error.message : String(error) });
  }
}

const reportUrl = query.get('report');
if (reportUrl !== null) void runForReport(reportUrl);
else page.onRun((rows) => void measure(rows, () => {}).catch(() => {}));
