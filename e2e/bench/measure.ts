// One run of the benchmark in one browser, which is started by its command line alone: a debugger or
// driver would halve Chromium's rate of requests and cost Firefox two thirds of its own. The page says
// what it does and what came out; the process, when it ends too early.

import { join } from 'node:path';
import { launchEngine } from '../engines/launch.ts';
import { ProcessGroup, removeFolder, temporaryFolder } from '../engines/process-group.ts';
import type { EngineName } from '../setup/engines.mjs';
import { type BenchMessage, type BenchServer, serveBench } from './bench-server.ts';

export interface MeasureOptions {
  readonly browser: { readonly kind: 'chromium' | EngineName; readonly path: string };
  /** Folder with the built page. */
  readonly page: string;
  /** For the page's query. */
  readonly query: Readonly<Record<string, string>>;
  /** Hears of each row as it begins. */
  readonly onRow: (row: string) => void;
}

/** The longest that one row may take: booting two guests on a busy machine. */
const ROW_LIMIT_MS = 400_000;

const CHROMIUM_FLAGS = [
  '--headless',
  '--disable-background-networking',
  '--disable-background-timer-throttling',
  '--disable-component-update',
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
  '--no-default-browser-check',
];

/** Answers the report and its text. Rejects when the page or the browser gives up. */
export async function measure(options: MeasureOptions): Promise<BenchMessage> {
  const folder = temporaryFolder('bench');
  let onMessage: (message: BenchMessage) => void = () => {};
  let server: BenchServer | undefined;
  let browser: ProcessGroup | undefined;
  try {
    server = await serveBench(options.page, join(folder, 'images'), (message) => {
      onMessage(message);
    });
    for (const [name, value] of Object.entries(options.query)) {
      server.url.searchParams.set(name, value);
    }
    const { promise, reject, stop } = outcome(options.onRow, (listener) => {
      onMessage = listener;
    });
    browser = await launch(options.browser, folder, server.url.href);
    const { child } = browser;
    child.once('exit', () => reject(`the browser ended: ${browser!.output.slice(-2000)}`));
    child.once('error', (error) => reject(String(error)));
    return await promise.finally(stop);
  } finally {
    await browser?.kill();
    await server?.close();
    removeFolder(folder);
  }
}

/** The page's last word; rejects when it says nothing for too long. */
function outcome(
  onRow: (row: string) => void,
  listen: (listener: (message: BenchMessage) => void) => void,
): { promise: Promise<BenchMessage>; reject: (why: string) => void; stop: () => void } {
  let limit: NodeJS.Timeout | undefined;
  let reject: (why: string) => void = () => {};
  const promise = new Promise<BenchMessage>((resolve, fail) => {
    reject = (why): void => fail(new Error(why));
    const patience = (): void => {
      clearTimeout(limit);
      limit = setTimeout(() => reject('the page says nothing any more'), ROW_LIMIT_MS);
    };
    patience();
    listen((message) => {
      patience();
      if (message.error !== undefined) reject(message.error);
      else if (message.report !== undefined) resolve(message);
      else onRow(message.row ?? '');
    });
  });
  return { promise, reject, stop: () => clearTimeout(limit) };
}

async function launch(
  { kind, path }: MeasureOptions['browser'],
  folder: string,
  url: string,
): Promise<ProcessGroup> {
  if (kind !== 'chromium') return launchEngine(kind, { folder, url });
  const root = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  const profile = `--user-data-dir=${join(folder, 'profile')}`;
  return new ProcessGroup(path, [...CHROMIUM_FLAGS, ...root, profile, url], process.env);
}
