// Runs end-to-end tests and counts them, for `npm test` and for one engine alone.

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, runInstalled } from './shell.mjs';

/**
 * @param {readonly string[]} args of `playwright test`
 * @param {string} name of the report, for a file in test-results/
 * @param {Record<string, string>} [env]
 * @returns {Promise<{ ok: boolean, passed: number, failed: number, skipped: number }>}
 */
export async function runPlaywright(args, name, env = {}) {
  const report = join(root, 'test-results', `${name}.json`);
  mkdirSync(dirname(report), { recursive: true });
  rmSync(report, { force: true });
  const { code } = await runInstalled('@playwright/test/cli.js', ['test', ...args], {
    mayFail: true,
    env: { ...env, DISKPLANE_E2E_REPORT: report },
  });
  const ok = code === 0;
  if (!existsSync(report)) return { ok, passed: 0, failed: ok ? 0 : 1, skipped: 0 };
  const { expected, flaky, unexpected, skipped } = JSON.parse(readFileSync(report, 'utf8')).stats;
  return { ok, passed: expected + flaky, failed: unexpected, skipped };
}

/**
 * The tests of e2e/engines, in several engines side by side.
 * @param {readonly import('./engines.d.mts').EngineName[]} engines
 */
export function runEngineTests(engines) {
  const projects = engines.map((engine) => `--project=${engine}`);
  const args = ['--config=e2e/engines/playwright.config.ts', `--workers=${engines.length}`];
  return runPlaywright([...args, ...projects], engines.join('-'));
}
