// `npm run bench`: the benchmark's page, built as it is shipped, in a browser that nothing else talks to,
// with a profile on disk (in a private window OPFS is 200 times slower). Prints the table; writes the
// same as JSON with `--json`. From a bare checkout, too.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureBrowser } from './setup/browser.mjs';
import { ensureDependencies } from './setup/dependencies.mjs';
import { ensureEngine } from './setup/engines.mjs';
import { ensureGuest } from './setup/ensure-guest.mjs';
import { root, run, runMain, say, SetupError, stage, which } from './setup/shell.mjs';
import { ensureWasm } from './setup/wasm.mjs';

const browsers = ['chromium', 'firefox', 'webkit'];

const help = `npm run bench -- [options]
  --only PATTERN   only the rows whose name matches (a regular expression)
  --browser NAME   ${browsers.join(', ')} (chromium)
  --pin            the whole browser on one CPU (Linux): steadier, where others share the machine
  --rounds N       rounds of each side of a row (9)
  --ms N           shortest round, milliseconds (150); slow rows have longer ones
  --json FILE      write the report there as well
  --help

Rows that boot the Linux guest are left out where it cannot be built. All rows take about fifteen minutes.`;

await runMain(async () => {
  const options = readOptions();
  if (options.help) return console.log(help);
  const page = mkdtempSync(join(tmpdir(), 'diskplane-bench-page-'));
  try {
    const browser = await stage('set-up', async () => {
      await ensureDependencies();
      await ensureWasm();
      await guestUnlessUnavailable();
      await buildPage(page);
      return findBrowser(options.browser);
    });
    if (options.pin) await pinToOneCpu();
    const before = load();
    const { text, report } = await stage('bench', () => measureRows(browser, page, options));
    const machineLoad = `load average ${before} before, ${load()} after`;
    console.log(`\n${text}\n${machineLoad}`);
    if (options.json) {
      writeFileSync(resolve(options.json), JSON.stringify({ ...report, machineLoad }, null, 2));
    }
    if (report.failed.length > 0) throw new SetupError(`${report.failed.length} rows failed`);
  } finally {
    rmSync(page, { recursive: true, force: true });
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
    if (!browsers.includes(values.browser)) {
      throw new Error(`--browser is '${values.browser}', not one of ${browsers.join(', ')}`);
    }
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

/** @param {string} kind */
async function findBrowser(kind) {
  const path = kind === 'chromium' ? await ensureBrowser() : await ensureEngine(kind);
  if (!path) throw new SetupError(`there is no ${kind} to measure`);
  return { kind, path };
}

/** @param {string} outDir */
async function buildPage(outDir) {
  const { build } = await import('vite');
  await build({
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'error',
    build: { outDir, emptyOutDir: true },
  });
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
 * @param {Awaited<ReturnType<typeof findBrowser>>} browser
 * @param {string} page folder with the built page
 * @param {ReturnType<typeof readOptions>} options
 */
async function measureRows(browser, page, options) {
  const query = {};
  for (const name of ['only', 'rounds', 'ms']) if (options[name]) query[name] = options[name];
  if (options.pin) query.pinned = '';
  const { runnerImport } = await import('vite');
  const { module } = await runnerImport(join(root, 'e2e/bench/measure.ts'));
  const start = performance.now();
  const onRow = (row) => {
    const seconds = Math.round((performance.now() - start) / 1000);
    say(`${String(seconds).padStart(4)} s  ${row}`);
  };
  try {
    return await module.measure({ browser, page, query, onRow });
  } catch (error) {
    throw new SetupError(error.message);
  }
}
