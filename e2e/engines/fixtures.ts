// What tests in Firefox and WebKitGTK start from. Playwright is their runner and nothing more: it can
// drive neither of these as distributions build them, so pages drive themselves (agent.ts), and
// run at full speed. One browser serves all tests of a file, each in tabs of its own.

import { test as base, type TestType } from '@playwright/test';
import type {
  PlaywrightTestArgs,
  PlaywrightTestOptions,
  PlaywrightWorkerArgs,
  PlaywrightWorkerOptions,
} from '@playwright/test';
import { build } from 'esbuild';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { preview } from 'vite';
import { type ImageServer, startImageServer } from '../server/image-server.ts';
import type { EngineName } from '../setup/engines.mjs';
import { freePort } from '../setup/free-port.mjs';
import { guestExists, guestFolder } from '../setup/guest-folder.mjs';
import { Channels } from './channel.ts';
import { stopDisplay } from './launch.ts';
import { EngineProfile, type EngineBrowser } from './profile.ts';

const root: string = fileURLToPath(new URL('../..', import.meta.url));

/** The server that pages come from, and the way to the agents in the browsers. */
export interface EngineServer {
  /** Of the built workbench; no slash at the end. */
  readonly url: string;
  /** What a page imports to get the package, as it is published in one file. */
  readonly entry: string;
  /** The script of the conformance worker. */
  readonly conformance: string;
  readonly channels: Channels;
}

export interface EngineWorkerFixtures {
  engine: EngineName;
  server: EngineServer;
  /** A browser for all tests of a worker. */
  sharedBrowser: EngineBrowser;
}

export interface EngineFixtures {
  /** Opens a tab; all are closed after the test, which fails where one had an uncaught error. */
  newTab: EngineBrowser['newTab'];
  /** Profiles of the test's own; removed after it. */
  newProfile: () => EngineProfile;
  images: ImageServer;
  /** As in e2e/fixtures.ts. */
  guest: string;
}

export const test: TestType<
  PlaywrightTestArgs & PlaywrightTestOptions & EngineFixtures,
  PlaywrightWorkerArgs & PlaywrightWorkerOptions & EngineWorkerFixtures
> = base.extend<EngineFixtures, EngineWorkerFixtures>({
  engine: ['firefox', { option: true, scope: 'worker' }],
  server: [
    async ({}, use) => {
      const channels = new Channels({
        'diskplane.js': readFileSync(`${root}dist/inline.js`, 'utf8'),
        'conformance.js': await bundle(`${root}e2e/conformance-worker.ts`),
      });
      const server = await preview({
        configFile: `${root}vite.config.ts`,
        plugins: [channels.plugin()],
        preview: { host: '127.0.0.1', port: await freePort(), strictPort: true },
      });
      const url = new URL(server.resolvedUrls!.local[0]!).origin;
      await use({
        url,
        entry: url + channels.scriptPath('diskplane.js'),
        conformance: url + channels.scriptPath('conformance.js'),
        channels,
      });
      await server.close();
    },
    { scope: 'worker' },
  ],
  sharedBrowser: [
    async ({ engine, server }, use) => {
      const profile = new EngineProfile(engine, server.channels);
      try {
        await use(await profile.launch(server.url));
      } finally {
        await profile.remove();
        await stopDisplay();
      }
    },
    { scope: 'worker', timeout: 90_000 },
  ],
  newTab: async ({ sharedBrowser }, use) => {
    await use(() => sharedBrowser.newTab());
    const errors = await sharedBrowser.closeTabs();
    if (errors.length > 0) throw new Error(`uncaught in a page: ${errors.join('; ')}`);
  },
  newProfile: async ({ engine, server }, use) => {
    const made: EngineProfile[] = [];
    await use(() => {
      const profile = new EngineProfile(engine, server.channels);
      made.push(profile);
      return profile;
    });
    for (const profile of made) await profile.remove();
  },
  images: async ({}, use) => {
    const images = await startImageServer();
    await use(images);
    await images.close();
  },
  guest: async ({}, use, testInfo) => {
    const exists = guestExists();
    if (!exists && process.env['CI']) throw new Error('the guest was not built: npm run guest');
    testInfo.skip(!exists, 'the guest was not built: npm run guest');
    await use(guestFolder());
  },
});

/** One module script of the source file `path` and all that it imports. */
async function bundle(path: string): Promise<string> {
  const built = await build({ entryPoints: [path], bundle: true, format: 'esm', write: false });
  return built.outputFiles[0]!.text;
}

export { expect } from '@playwright/test';
