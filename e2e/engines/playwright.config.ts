// The tests in other engines: `npm run test:firefox`, `npm run test:webkit`. Serial and without
// retries, as in Chromium.

import { defineConfig, type PlaywrightTestConfig } from '@playwright/test';
import type { EngineWorkerFixtures } from './fixtures.ts';

const report: string | undefined = process.env['DISKPLANE_E2E_REPORT'];

const config: PlaywrightTestConfig<object, EngineWorkerFixtures> = defineConfig<
  object,
  EngineWorkerFixtures
>({
  testDir: '.',
  testMatch: '*.spec.ts',
  outputDir: '../../test-results/engines',
  workers: 1,
  retries: 0,
  forbidOnly: Boolean(process.env['CI']),
  timeout: 180_000,
  globalTimeout: 600_000,
  expect: { timeout: 20_000 },
  reporter: report ? [['list'], ['json', { outputFile: report }]] : [['list']],
  projects: (['firefox', 'webkit'] as const).map((engine) => ({ name: engine, use: { engine } })),
});

export default config;
