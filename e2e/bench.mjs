// `npm run bench`: the benchmark's page, built as it is shipped, in a browser that nothing else talks to,
// with a profile on disk (in a private window OPFS is 200 times slower). Prints the table; writes the
// same as JSON with `--json`. From a bare checkout, too.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPage, serveBench } from './bench/bench-server.mjs';
import { findBenchBrowser, startBrowser } from './bench/start-browser.mjs';
import { ensureDependencies } from './setup/dependencies.mjs';
import { ensureGuest } from './setup/ensure-guest.mjs';
import { run, runMain, say, SetupError, stage, which } from './setup/shell.mjs';
import { ensureWasm } from './setup/wasm.mjs';

const help = `npm run bench -- [options]
  --only PATTERN   only the rows whose name matches (a regular expression)
  --browser WHICH  chromium, firefox, or the path of one (chromium)
  --pin            the whole browser on one CPU (Linux): steadier, where others share the machine
  --rounds N       rounds of each side of a row (9)
  --ms N           least length of a round in milliseconds (150)
  --json FILE      write the report there as well
  --help

Rows that boot the Linux guest are left out where it cannot be built. All rows take about ten minutes.`;

/** The longest that one row may take: booting two guests on a busy machine. */
const ROW_LIMIT_MS = 400_000;

await runMain(async () => {
  const options = readOptions();
  if (options.help) return console.log(help);
  const scratch = mkdtempSync(join(tmpdir(), 'diskplane-bench-'));
  try {
    const browser = await stage('set-up', async () => {
      await ensureDependencies();
      await ensureWasm();
      const found = await findBenchBrowser(options.browser);
      await guestUnlessUnavailable();
      await buildPage(join(scratch, 'page'));
      return found;
    });
    if (options.pin) await pinToOneCpu();
    const before = load();
    const { text, report } = await stage('bench', () => measure(browser, scratch, options));
    const machineLoad = `load average ${before} before, ${load()} after`;
    console.log(`\n${text}\n${machineLoad}`);
    if (options.json) {
      writeFileSync(resolve(options.json), JSON.stringify({ ...report, machineLoad }, null, 2));
    }
    if (report.failed.length > 0) throw new SetupError(`${report.failed.length} rows failed`);
  } finally {
    rmSync(scratch, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
});

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string' },
        browser: { type: 'string', default: 'chromium' },
        pin: { type: 'boolean' },
        rounds: { type: 'string' },
        ms: { type: 'string' },
        json: { type: 'string' },
        help: { type: 'boolean' },
      },
    });
    if (values.only !== undefined) new RegExp(values.only);
    for (const name of ['rounds', 'ms']) {
      if (values[name] !== undefined && !(Number(values[name]) >= 1)) {
        throw new Error(`--${name} is '${values[name]}', not a number from 1 on`);
      }
    }
    return values;
  } catch (error) {
    throw new SetupError(`${error.message}\n\n${help}`);
  }
}

async function guestUnlessUnavailable() {
  try {
    await ensureGuest();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`guest: NOT THERE, its rows are left out: ${error.message}`);
  }
}

/** All that this process starts from here on stays on one CPU, the browser with its threads. */
async function pinToOneCpu() {
  const taskset = which('taskset');
  if (!taskset) throw new SetupError('--pin needs taskset (util-linux), which is not installed');
  await run(taskset, ['-apc', '0', String(process.pid)], { quiet: true });
  say('pinned to CPU 0');
}

/** Of the last minute. */
function load() {
  return loadavg()[0].toFixed(1);
}

/**
 * @param {import('./bench/start-browser.mjs').Browser} browser
 * @param {string} scratch folder with the built page in it
 * @param {ReturnType<typeof readOptions>} options
 * @returns {Promise<{ text: string, report: { failed: readonly object[] } }>}
 */
async function measure(browser, scratch, options) {
  let onMessage = () => {};
  const server = await serveBench(join(scratch, 'page'), join(scratch, 'images'), (message) =>
    onMessage(message),
  );
  for (const name of ['only', 'rounds', 'ms']) {
    if (options[name]) server.url.searchParams.set(name, options[name]);
  }
  if (options.pin) server.url.searchParams.set('pinned', '');
  const start = performance.now();
  const seconds = () => ((performance.now() - start) / 1000).toFixed(0).padStart(4);
  const running = startBrowser(browser, join(scratch, 'profile'), server.url.href);
  let limit;
  try {
    return await new Promise((resolve, reject) => {
      const fail = (why) => reject(new SetupError(why));
      const patience = () => {
        clearTimeout(limit);
        limit = setTimeout(() => fail('the page says nothing any more'), ROW_LIMIT_MS);
      };
      patience();
      onMessage = (message) => {
        patience();
        if (message.error !== undefined) fail(message.error);
        else if (message.report === undefined) say(`${seconds()} s  ${message.row}`);
        else resolve(message);
      };
      void running.ended.then((words) => fail(`the browser ended: ${words}`));
    });
  } finally {
    clearTimeout(limit);
    await running.stop();
    await server.close();
  }
}
