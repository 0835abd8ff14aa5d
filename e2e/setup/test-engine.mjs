// `npm run test:firefox`, `npm run test:webkit`: the tests in another engine alone, from a bare checkout.

import { ensureDependencies } from './dependencies.mjs';
import { ensureEngine } from './engines.mjs';
import { ensureGuest } from './ensure-guest.mjs';
import { runEngineTests } from './run-playwright.mjs';
import { root, run, runInstalled, runMain, say, SetupError, stage } from './shell.mjs';
import { ensureWasm } from './wasm.mjs';

await runMain(async () => {
  const engine = process.argv[2];
  if (engine !== 'firefox' && engine !== 'webkit') {
    throw new SetupError(`node e2e/setup/test-engine.mjs firefox|webkit, not '${engine}'`);
  }
  const there = await stage('set-up', async () => {
    await ensureDependencies();
    await ensureWasm();
    await ensureGuest().catch((error) => {
      if (!(error instanceof SetupError)) throw error;
      say(`guest: NOT THERE, tests that boot it will be skipped: ${error.message}`);
    });
    return ensureEngine(engine);
  });
  if (!there) return;
  await stage('workbench build', () =>
    runInstalled('vite/bin/vite.js', ['build', '--logLevel', 'warn']),
  );
  await stage('package build', () => run(process.execPath, [`${root}e2e/setup/build.mjs`]));
  const { ok, passed, failed, skipped } = await stage(`tests in ${engine}`, () =>
    runEngineTests([engine]),
  );
  console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  if (!ok) throw new SetupError(`tests in ${engine} failed`);
});
