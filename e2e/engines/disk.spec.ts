// The façade in another engine: the cases that every browser gets, and those of this engine alone.

import { changeCases } from '../change-cases.ts';
import {
  blankTab,
  close,
  diskCases,
  events,
  expectSound,
  fill,
  type Kept,
  open,
  read,
  write,
} from '../disk-cases.ts';
import { expect, test } from './fixtures.ts';
import type { EngineBrowser } from './profile.ts';
import type { Tab } from './tab.ts';

for (const { name, kills, run } of [...diskCases, ...changeCases]) {
  test(name, async ({ newTab, newProfile, images, server }) => {
    const rig = { entry: server.entry, images };
    if (!kills) {
      const kill = (): never => {
        throw new Error('not its own browser');
      };
      return run({ ...rig, newTab, kill });
    }
    const profile = newProfile();
    let browser: EngineBrowser | undefined;
    await run({
      ...rig,
      newTab: async () => (browser ??= await profile.launch(server.url)).newTab(),
      kill: async () => {
        browser = undefined;
        await profile.kill();
      },
    });
  });
}

test('Firefox: storage that is full is ENOSPC, and what was flushed stays whole', async ({
  engine,
  newProfile,
  server,
}) => {
  test.skip(engine !== 'firefox', 'a preference of Firefox');
  const profile = newProfile();
  const files = [
    { driver: 'opfs', path: 'full.img' },
    { driver: 'idb', database: 'full.img' },
  ];
  // KiB; an origin gets a fifth of it.
  const limit = { 'dom.quotaManager.temporaryStorage.fixedLimit': 50 * 1024 };
  const small = await profile.launch(server.url, limit);
  const tabs = [];
  for (const file of files) {
    const image = { driver: 'qcow2', file };
    const tab = await blankTab(small);
    expect(await open(tab, server.entry, image, { ...image, size: '64M' })).toBe('');
    await write(tab, 0, 4);
    tabs.push(tab);
  }
  for (const tab of tabs) {
    expect(await fill(tab)).toBe('ENOSPC');
    expect(await read(tab, 0)).toBe(4);
    expect(await events(tab)).toContain('BLOCK_IO_ERROR');
  }
  await profile.kill();
  // With room again they go on, and the images are sound.
  const roomy = await profile.launch(server.url);
  for (const file of files) {
    const tab = await blankTab(roomy);
    expect(await open(tab, server.entry, { driver: 'qcow2', file })).toBe('');
    expect(await read(tab, 0)).toBe(4);
    await write(tab, 2 * 1024 * 1024, 6);
    expect(await read(tab, 2 * 1024 * 1024)).toBe(6);
    await expectSound(tab);
  }
});

test('a disk of opfs goes to IndexedDB where there are no sync access handles', async ({
  engine,
  newProfile,
  server,
}) => {
  // Firefox has none in private windows, WebKitGTK never.
  const preferences = engine === 'firefox' ? { 'browser.privatebrowsing.autostart': true } : {};
  const tab = await blankTab(await newProfile().launch(server.url, preferences));
  const file = { driver: 'opfs', path: 'disks/fallen.img', create: true, size: '64M' };
  const image = { driver: 'raw', file };
  expect(await open(tab, server.entry, { ...image, file: { ...file, fallback: false } })).toMatch(
    engine === 'firefox' ? /^EACCES/ : /^ENOTSUP/,
  );
  expect(await open(tab, server.entry, image)).toBe('');
  expect(await notices(tab)).toMatch(/no synchronous access to files.*was made in IndexedDB/);
  await write(tab, 12_345, 7);
  await close(tab);
  expect(await open(tab, server.entry, image)).toBe('');
  expect(await notices(tab)).toMatch(/is in IndexedDB, database 'opfs:disks\/fallen.img'/);
  expect(await read(tab, 12_345)).toBe(7);
});

/** What the disk that was opened last had to say. */
async function notices(tab: Tab): Promise<string> {
  return (await tab.evaluate(() => (globalThis as unknown as Kept).notices, undefined)).join('\n');
}
