// End-to-end tests: one at a time, since a guest and its IOThread fill two CPUs, and two guests on them
// take longer than one after the other; no retries, since a test that passes sometimes is a failing
// test. Two servers: the dev server, where a test page may import any module of the sources, and the
// preview of the built workbench, which people get.

import { defineConfig, type PlaywrightTestConfig } from '@playwright/test';
import { fileURLToPath } from 'node:url';
import { freePort } from './setup/free-port.mjs';

const root: string = fileURLToPath(new URL('..', import.meta.url));

/** This file runs in several processes: the first chooses, and the environment tells the others. */
async function portFrom(variable: string): Promise<string> {
  return (process.env[variable] ??= String(await freePort()));
}

const devPort: string = await portFrom('DISKPLANE_DEV_PORT');
const previewPort: string = await portFrom('DISKPLANE_PREVIEW_PORT');
const report: string | undefined = process.env['DISKPLANE_E2E_REPORT'];
const vite = `"${process.execPath}" node_modules/vite/bin/vite.js`;

const config: PlaywrightTestConfig = defineConfig({
  testDir: '.',
  testMatch: '*.spec.ts',
  testIgnore: '**/engines/**',
  outputDir: '../test-results/e2e',
  workers: 1,
  retries: 0,
  forbidOnly: Boolean(process.env['CI']),
  timeout: 180_000,
  expect: { timeout: 20_000 },
  reporter: report ? [['list'], ['json', { outputFile: report }]] : [['list']],
  use: { baseURL: `http://127.0.0.1:${devPort}`, trace: 'off' },
  webServer: [
    {
      command: `${vite} --port ${devPort} --strictPort --logLevel warn`,
      cwd: root,
      url: `http://127.0.0.1:${devPort}/bios/seabios.bin`,
      timeout: 60_000,
    },
    {
      command: `${vite} preview --port ${previewPort} --strictPort --logLevel warn`,
      cwd: root,
      url: `http://127.0.0.1:${previewPort}/bios/seabios.bin`,
      timeout: 60_000,
    },
  ],
});

export default config;
