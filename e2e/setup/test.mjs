// `npm test`: everything, cheapest first, on any machine, from a bare checkout. Stops at the first
// stage that fails. The last line says how many tests passed and failed.

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBrowser } from './browser.mjs';
import { ensureDependencies } from './dependencies.mjs';
import { ensureEngine } from './engines.mjs';
import { ensureGuest } from './ensure-guest.mjs';
import { runEngineTests, runPlaywright } from './run-playwright.mjs';
import { root, run, runInstalled, runMain, say, SetupError, stage } from './shell.mjs';
import { ensureTools } from './tools.mjs';
import { ensureWasm } from './wasm.mjs';

const results = join(root, 'test-results');
const total = { passed: 0, failed: 0, skipped: 0 };

await runMain(async () => {
  try {
    await testAll();
  } catch (error) {
    // A stage without tests of its own (a type error, say) is a failure to be counted as well.
    if (total.failed === 0) total.failed = 1;
    throw error;
  } finally {
    const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
    console.log(`\n${total.passed} passed, ${total.failed} failed${skipped}`);
  }
});

async function testAll() {
  mkdirSync(results, { recursive: true });
  let browser = '';
  const engines = [];
  await stage('set-up', async () => {
    await ensureDependencies();
    await ensureWasm();
    await ensureTools();
    browser = await ensureBrowser();
    for (const engine of ['firefox', 'webkit']) {
      if (await ensureEngine(engine)) engines.push(engine);
    }
    await guestUnlessUnavailable();
  });
  await stage('types, lint, API reference and unit tests', () =>
    sideBySide([checkSources, unitTests]),
  );
  await stage('simulation', simulation);
  await stage('workbench build', () =>
    runInstalled('vite/bin/vite.js', ['build', '--logLevel', 'warn']),
  );
  await stage('package build', () => run(process.execPath, [join(root, 'e2e/setup/build.mjs')]));
  await stage('end-to-end tests', async () => {
    const config = '--config=e2e/playwright.config.ts';
    count(
      await runPlaywright([config], 'playwright', { DISKPLANE_BROWSER: browser }),
      'end-to-end tests',
    );
  });
  if (engines.length === 0) return;
  const name = `tests in ${engines.join(' and ')}`;
  await stage(name, async () => count(await runEngineTests(engines), name));
}

/** Tests that boot the guest fail without it under CI; elsewhere they say that they were skipped. */
async function guestUnlessUnavailable() {
  try {
    await ensureGuest();
  } catch (error) {
    if (process.env['CI'] || !(error instanceof SetupError)) throw error;
    say(`guest: NOT THERE, tests that boot it will be skipped: ${error.message}`);
  }
}

/** What looks at the sources without running them, the quickest first. */
async function checkSources() {
  await runInstalled('typescript/bin/tsc', ['--noEmit', '-p', '.']);
  await runInstalled('typedoc/bin/typedoc', ['--logLevel', 'Warn']);
  await runInstalled('prettier/bin/prettier.cjs', ['--check', '--log-level', 'warn', '.']);
  await runInstalled('eslint/bin/eslint.js', ['.']);
}

async function unitTests() {
  const report = join(results, 'vitest.json');
  rmSync(report, { force: true });
  const { code } = await runInstalled(
    'vitest/vitest.mjs',
    ['run', '--reporter=dot', '--reporter=json', `--outputFile.json=${report}`],
    { mayFail: true },
  );
  if (existsSync(report)) {
    const { numPassedTests, numFailedTests, numPendingTests } = readJson(report);
    total.passed += numPassedTests;
    total.failed += numFailedTests;
    total.skipped += numPendingTests;
  }
  if (code !== 0) throw new SetupError('unit tests failed');
}

/**
 * Two things on two CPUs: unit tests wait for programs and timers often enough. All end before the first
 * failure is told, so that no output comes after it.
 * @param {readonly (() => Promise<void>)[]} works
 */
async function sideBySide(works) {
  const ends = await Promise.allSettled(works.map((work) => work()));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

/** 2,000 seeds on one CPU and the canaries on the other. */
async function simulation() {
  const simulate = (/** @type {string[]} */ ...options) =>
    run(process.execPath, [join(root, 'e2e/sim.mjs'), ...options]);
  await Promise.all([simulate('--seeds', '2000'), simulate('--canaries')]);
  total.passed += 2;
}

/**
 * @param {Awaited<ReturnType<typeof runPlaywright>>} counts
 * @param {string} what ran
 */
function count({ ok, passed, failed, skipped }, what) {
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
  if (!ok) throw new SetupError(`${what} failed`);
}

/** @param {string} path */
function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}
