// The façade in Chromium: the cases that every browser gets, and those that need a driver for the
// browser.

import type { BrowserContext, Page } from '@playwright/test';
import type * as Diskplane from '../src/index.ts';
import { changeCases } from './change-cases.ts';
import { close, diskCases, events, expectSound, fill, open, read, write } from './disk-cases.ts';
import { expect, test } from './fixtures.ts';

test.use({ shareBrowser: true });

const QCOW2 = { driver: 'qcow2', file: { driver: 'opfs', path: 'disks/test.qcow2' } };

for (const { name, kills, run } of [...diskCases, ...changeCases]) {
  if (kills) {
    test(name, async ({ profile, sourceURL, images }) => {
      let browser: BrowserContext | undefined;
      await run({
        entry: sourceURL('src/index.ts'),
        images,
        newTab: async () => (browser ??= await profile.launch()).newPage(),
        kill: () => {
          browser = undefined;
          return profile.kill();
        },
      });
    });
  } else {
    test(name, async ({ context, sourceURL, images }) => {
      await run({
        entry: sourceURL('src/index.ts'),
        images,
        newTab: () => context.newPage(),
        kill: () => Promise.reject(new Error('not its own browser')),
      });
    });
  }
}

test('who asks for shared memory where there is none hears what the page lacks', async ({
  page,
  sourceURL,
}) => {
  await page.goto('blank.html');
  const message = await page.evaluate(async (entry) => {
    Reflect.deleteProperty(globalThis, 'SharedArrayBuffer');
    const { openDisk } = (await import(entry)) as typeof Diskplane;
    return openDisk('memory:1M', { transport: 'shared' }).then(
      () => '',
      (error: Diskplane.BlockError) => `${error.code} ${error.message}`,
    );
  }, sourceURL('src/index.ts'));
  expect(message).toMatch(/^ENOTSUP .*Cross-Origin-Opener-Policy/);
});

test('storage that is full is ENOSPC, and what was flushed stays whole', async ({
  page,
  sourceURL,
}) => {
  const entry = sourceURL('src/index.ts');
  await page.goto('blank.html');
  expect(await open(page, entry, QCOW2, { ...QCOW2, size: '64M' })).toBe('');
  await write(page, 0, 4);
  await limitStorage(page, 8 * 1024 * 1024);
  expect(await fill(page)).toBe('ENOSPC');
  expect(await read(page, 0)).toBe(4);
  expect(await events(page)).toContain('BLOCK_IO_ERROR');
  await limitStorage(page, undefined);
  // With room again it goes on, and the image is sound.
  await write(page, 2 * 1024 * 1024, 6);
  expect(await read(page, 2 * 1024 * 1024)).toBe(6);
  await close(page);
  expect(await open(page, entry, QCOW2)).toBe('');
  expect(await read(page, 0)).toBe(4);
  await expectSound(page);
});

/** Bytes that the page's origin may store; undefined for what is usual. */
async function limitStorage(page: Page, quotaSize: number | undefined): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const { origin } = new URL(page.url());
  await session.send('Storage.overrideQuotaForOrigin', {
    origin,
    ...(quotaSize === undefined ? {} : { quotaSize }),
  });
}

test('in a private window, where each call of OPFS is dear, few are made', async ({
  privatePage: page,
  sourceURL,
}) => {
  await page.goto('blank.html');
  const answer = await page.evaluate(async (entry) => {
    const { openDisk } = (await import(entry)) as typeof Diskplane;
    const notices: string[] = [];
    const file = { driver: 'opfs', 'node-name': 'file', path: 'private.qcow2', create: true };
    const disk = await openDisk(
      { driver: 'qcow2', file, size: '64M' },
      { onEvent: (event) => void (event.event === 'NOTICE' && notices.push(event.message)) },
    );
    const calls = async (): Promise<number> => {
      const { counts } = await disk.stats();
      const { hostReads, hostWrites } = counts.find(
        ({ nodeName }) => nodeName === 'file',
      )!.counters;
      return hostReads! + hostWrites!;
    };
    const page = new Uint8Array(4096);
    const opened = await calls();
    for (let i = 0; i < 1024; i++) await disk.write(i * 4096, page.fill(i));
    await disk.flush();
    const written = await calls();
    for (let i = 0; i < 1024; i++) {
      await disk.read(i * 4096, page);
      if (page.some((byte) => byte !== i % 256)) throw new Error(`page ${i} is not what it was`);
    }
    const read = await calls();
    await disk.close();
    return { notices, writing: written - opened, reading: read - written };
  }, sourceURL('src/index.ts'));
  expect(answer.notices.join()).toMatch(/storage is slow here .* private windows.* in batches/);
  // 4 MiB in 1024 pieces: windows of 256 KiB, and some for tables.
  expect(answer.writing).toBeLessThan(60);
  expect(answer.reading).toBeLessThan(30);
});
