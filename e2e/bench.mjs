// `npm run bench`: the benchmark's page, built as it is shipped, in Chromium with a profile on disk (in
// a private window OPFS is 200 times slower). Prints the table; says with `--json` where the same goes
// as JSON. From a bare checkout, too.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureBrowser } from './setup/browser.mjs';
import { ensureDependencies } from './setup/dependencies.mjs';
import { freePort } from './setup/free-port.mjs';
import { root, run, runMain, say, SetupError, stage, which } from './setup/shell.mjs';
import { ensureWasm } from './setup/wasm.mjs';

const help = `npm run bench -- [options]
  --only PATTERN   only the rows whose name matches (a regular expression)
  --json FILE      write the report there as well
  --rounds N       rounds of each side of a row (9)
  --pin            the whole browser on one CPU (Linux): steadier, where others share the machine
  --help`;

/** Longest run: a dozen rows of a few seconds, with room for a busy machine. */
const LIMIT_MS = 600_000;

const flags = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
];

await runMain(async () => {
  const options = readOptions();
  if (options.help) return console.log(help);
  let browser = '';
  const profile = mkdtempSync(join(tmpdir(), 'diskplane-bench-'));
  try {
    await stage('set-up', async () => {
      await ensureDependencies();
      await ensureWasm();
      browser = await ensureBrowser();
      await buildPage(join(profile, 'page'));
    });
    if (options.pin) await pinToOneCpu();
    const outcome = await stage('bench', () => measure(browser, profile, options));
    console.log(`\n${outcome.text}`);
    if (outcome.error !== undefined) throw new SetupError('the benchmark failed');
    if (options.json) writeFileSync(resolve(options.json), JSON.stringify(outcome.report, null, 2));
  } finally {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
});

/** @returns {{ only?: string, json?: string, rounds?: string, pin?: boolean, help?: boolean }} */
function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string' },
        json: { type: 'string' },
        rounds: { type: 'string' },
        pin: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    });
    if (values.only !== undefined) new RegExp(values.only);
    if (values.rounds !== undefined && !(Number(values.rounds) >= 1)) {
      throw new Error(`--rounds is '${values.rounds}', not a number from 1 on`);
    }
    return values;
  } catch (error) {
    throw new SetupError(`${error.message}\n\n${help}`);
  }
}

/** @param {string} outDir where the built page goes */
async function buildPage(outDir) {
  const { build } = await import('vite');
  await build({
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'warn',
    build: {
      outDir,
      emptyOutDir: true,
      rolldownOptions: { input: join(root, 'src/demo/bench/bench.html') },
    },
  });
}

/** All that this process starts from here on stays on one CPU, the browser with its threads. */
async function pinToOneCpu() {
  const taskset = which('taskset');
  if (!taskset) throw new SetupError('--pin needs taskset (util-linux), which is not installed');
  await run(taskset, ['-apc', '0', String(process.pid)], { quiet: true });
  say('pinned to CPU 0');
}

/**
 * @param {string} browser path of its program
 * @param {string} profile folder of ours: the built page, and what the browser stores
 * @param {ReturnType<typeof readOptions>} options
 */
async function measure(browser, profile, options) {
  const { preview } = await import('vite');
  const { chromium } = await import('playwright');
  const server = await preview({
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'warn',
    build: { outDir: join(profile, 'page') },
    preview: { port: await freePort(), strictPort: true },
  });
  try {
    const context = await chromium.launchPersistentContext(join(profile, 'browser'), {
      executablePath: browser,
      args: flags,
    });
    try {
      const page = context.pages()[0] ?? (await context.newPage());
      await page.exposeFunction('benchProgress', say);
      page.on('pageerror', (error) => say(`page: ${error.message}`));
      const url = new URL('/bench/bench.html', server.resolvedUrls.local[0]);
      if (options.only) url.searchParams.set('only', options.only);
      if (options.rounds) url.searchParams.set('rounds', options.rounds);
      if (options.pin) url.searchParams.set('pinned', '');
      await page.goto(url.href);
      const outcome = await page.waitForFunction(() => globalThis.benchOutcome, undefined, {
        timeout: LIMIT_MS,
        polling: 250,
      });
      return await outcome.jsonValue();
    } finally {
      await context.close();
    }
  } finally {
    await server.close();
  }
}
