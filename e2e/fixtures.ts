// What every end-to-end test starts from: a browser profile on disk that is its own. Playwright's usual
// contexts are incognito, where OPFS lives in memory behind IPC, 200 times slower, and is gone with
// the browser; nothing here could be proved in one.

import {
  test as base,
  chromium,
  type BrowserContext,
  type Page,
  type PlaywrightTestArgs,
  type PlaywrightTestOptions,
  type PlaywrightWorkerArgs,
  type PlaywrightWorkerOptions,
  type TestType,
  type WebError,
} from '@playwright/test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ImageServer, startImageServer } from './server/image-server.ts';
import { ensureBrowser, findBrowser } from './setup/browser.mjs';
import { guestExists, guestFolder } from './setup/guest-folder.mjs';

const root: string = fileURLToPath(new URL('..', import.meta.url))
  .replaceAll('\\', '/')
  .replace(/^\//, '');

/** Keep a browser from calling home, which a closed network makes slow, and from wanting a GPU. */
const FLAGS: readonly string[] = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
];

/** A browser profile; its stored data outlives the browsers that are started on it. */
export class Profile {
  readonly #folder: string = mkdtempSync(join(tmpdir(), 'diskplane-profile-'));
  readonly #baseURL: string | undefined;
  #context: BrowserContext | undefined;

  constructor(baseURL: string | undefined) {
    this.#baseURL = baseURL;
  }

  /** Starts a browser on this profile; one at a time. */
  async launch(): Promise<BrowserContext> {
    if (this.#context) throw new Error('this profile has a running browser');
    this.#context = await chromium.launchPersistentContext(this.#folder, {
      executablePath: (await findBrowser()) ?? (await ensureBrowser()),
      args: [...FLAGS],
      ...(this.#baseURL !== undefined && { baseURL: this.#baseURL }),
    });
    return this.#context;
  }

  /** Ends the browser as a person would. */
  async close(): Promise<void> {
    const context = this.#context;
    this.#context = undefined;
    await context?.close();
  }

  /** Ends the browser as a crash would: no page gets to do anything more. */
  async kill(): Promise<void> {
    const context = this.#context;
    this.#context = undefined;
    if (!context) return;
    const closed = new Promise<void>((resolve) => context.once('close', () => resolve()));
    const session = await context.newCDPSession(context.pages()[0] ?? (await context.newPage()));
    // There is no answer to this one.
    session.send('Browser.crash').catch(() => {});
    await closed;
  }

  /** Ends the browser and removes what it stored. */
  async remove(): Promise<void> {
    await this.close();
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** Of a worker process, beside Playwright's own. */
export interface WorkerFixtures {
  /** The browser of tests with `shareBrowser`, started when it is first asked for. */
  sharedBrowser: () => Promise<BrowserContext>;
}

/** The fixtures of this project, beside Playwright's own. */
export interface Fixtures {
  /**
   * `context` is a browser that ran other tests before, with what they stored: to start one costs as much as a
   * small test. For tests whose disks have names of their own, and that no quota is for. All pages are closed at a
   * test's end.
   */
  shareBrowser: boolean;
  /** A profile with no browser yet: for tests that end browsers and start them again. */
  profile: Profile;
  /** A page of a private window, which forgets, and whose OPFS is slow. */
  privatePage: Page;
  /** An image server without files, closed at the test's end. */
  images: ImageServer;
  /** Where the built workbench is; `baseURL` is the dev server. */
  previewURL: string;
  /**
   * The folder with the guest's files (`npm run guest`), which the servers serve below `/guest/`. Where
   * it could not be built, a test that asks for it fails under CI, and is skipped elsewhere.
   */
  guest: string;
  /** The dev server's URL for a file of this checkout, such as `src/index.ts` or a page of `e2e/`. */
  sourceURL: (path: string) => string;
  /** Uncaught errors of the pages of `context`; a test ends in failure where one is left in here. */
  pageErrors: Error[];
}

/** Playwright's `test` with our fixtures. */
export const test: TestType<
  PlaywrightTestArgs & PlaywrightTestOptions & Fixtures,
  PlaywrightWorkerArgs & PlaywrightWorkerOptions & WorkerFixtures
> = base.extend<Fixtures, WorkerFixtures>({
  shareBrowser: [false, { option: true }],
  sharedBrowser: [
    async ({}, use) => {
      const profile = new Profile(`http://127.0.0.1:${process.env['DISKPLANE_DEV_PORT']}`);
      let started: Promise<BrowserContext> | undefined;
      await use(() => (started ??= profile.launch()));
      await profile.remove();
    },
    { scope: 'worker' },
  ],
  pageErrors: async ({}, use) => {
    const errors: Error[] = [];
    await use(errors);
    if (errors.length > 0) throw new Error(`uncaught in a page: ${errors.map(String).join('; ')}`);
  },
  profile: async ({ baseURL }, use) => {
    const profile = new Profile(baseURL);
    await use(profile);
    await profile.remove();
  },
  context: async ({ shareBrowser, sharedBrowser, profile, pageErrors }, use) => {
    const context = await (shareBrowser ? sharedBrowser() : profile.launch());
    const onError = (error: WebError): unknown => pageErrors.push(error.error());
    context.on('weberror', onError);
    await use(context);
    context.off('weberror', onError);
    if (!shareBrowser) return profile.close();
    // The first one keeps the browser open.
    await Promise.all(context.pages().slice(1).map((page) => page.close())); // prettier-ignore
  },
  page: async ({ context, shareBrowser }, use) => {
    const first = shareBrowser ? undefined : context.pages()[0];
    await use(first ?? (await context.newPage()));
  },
  privatePage: async ({ baseURL }, use) => {
    const executablePath = (await findBrowser()) ?? (await ensureBrowser());
    const browser = await chromium.launch({ executablePath, args: [...FLAGS] });
    const context = await browser.newContext(baseURL === undefined ? {} : { baseURL });
    await use(await context.newPage());
    await browser.close();
  },
  images: async ({}, use) => {
    const images = await startImageServer();
    await use(images);
    await images.close();
  },
  previewURL: async ({}, use) => {
    await use(`http://127.0.0.1:${process.env['DISKPLANE_PREVIEW_PORT']}`);
  },
  guest: async ({}, use, testInfo) => {
    const exists = guestExists();
    if (!exists && process.env['CI']) throw new Error('the guest was not built: npm run guest');
    testInfo.skip(!exists, 'the guest was not built: npm run guest');
    await use(guestFolder());
  },
  sourceURL: async ({ baseURL }, use) => {
    await use((path) => `${baseURL}/@fs/${root}${path}`);
  },
});

export { expect } from '@playwright/test';
