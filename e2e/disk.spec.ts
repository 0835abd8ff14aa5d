// The façade in a real browser: storage that outlives it, two tabs, workers that die, pages that go.

import type { Page } from '@playwright/test';
import type * as Diskplane from '../src/index.ts';
import { expect, test } from './fixtures.ts';

/** What test pages keep between calls. */
interface Kept {
  disk: Diskplane.Disk;
  events: string[];
  workers: Worker[];
}

const PATH = 'disks/test.qcow2';
const FILE = { driver: 'opfs', path: PATH };
const QCOW2 = { driver: 'qcow2', file: FILE };

/** Opens `options` in `page`, and keeps the disk there; answers '' or the error's code and message. */
function open(page: Page, entry: string, options: object, create?: object): Promise<string> {
  return page.evaluate(
    async ({ entry, options, create }) => {
      const { openDisk, createDisk } = (await import(entry)) as typeof Diskplane;
      const kept = globalThis as unknown as Kept;
      kept.events = [];
      try {
        if (create !== undefined) await createDisk(create as Diskplane.BlockdevOptions);
        kept.disk = await openDisk(options as Diskplane.BlockdevOptions, {
          onEvent: ({ event }) => kept.events.push(event),
        });
        return '';
      } catch (error) {
        return `${(error as Diskplane.BlockError).code}: ${(error as Error).message}`;
      }
    },
    { entry, options, ...(create === undefined ? {} : { create }) },
  );
}

const create = { ...QCOW2, size: '64M' };
/** Where disks are kept. */
const STORAGES = [
  ['OPFS', FILE],
  ['IndexedDB', { driver: 'idb', database: 'test.qcow2' }],
] as const;

function write(page: Page, offset: number, value: number): Promise<void> {
  return page.evaluate(
    async ({ offset, value }) => {
      const { disk } = globalThis as unknown as Kept;
      await disk.write(offset, new Uint8Array(300_000).fill(value));
      await disk.flush();
    },
    { offset, value },
  );
}

/** The one value that 300,000 bytes at `offset` hold, or -1. */
function read(page: Page, offset: number): Promise<number> {
  return page.evaluate(async (offset) => {
    const { disk } = globalThis as unknown as Kept;
    const back = new Uint8Array(300_000);
    await disk.read(offset, back);
    return back.every((byte) => byte === back[0]) ? back[0]! : -1;
  }, offset);
}

for (const [where, file] of STORAGES) {
  const image = { driver: 'qcow2', file };

  test(`what was flushed is there after the browser was killed: ${where}`, async ({
    profile,
    sourceURL,
  }) => {
    const entry = sourceURL('src/index.ts');
    let page = await (await profile.launch()).newPage();
    await page.goto('blank.html');
    expect(await open(page, entry, image, { ...image, size: '64M' })).toBe('');
    await write(page, 12_345, 7);
    await profile.kill();
    page = await (await profile.launch()).newPage();
    await page.goto('blank.html');
    expect(await open(page, entry, image)).toBe('');
    expect(await read(page, 12_345)).toBe(7);
    const check = await page.evaluate(() => (globalThis as unknown as Kept).disk.check());
    expect(check).toMatchObject({ corruptions: 0, checkErrors: 0 });
  });

  test(`a second tab hears that the disk is in use, and gets it afterwards: ${where}`, async ({
    context,
    page,
    sourceURL,
  }) => {
    const entry = sourceURL('src/index.ts');
    await page.goto('blank.html');
    expect(await open(page, entry, image, { ...image, size: '64M' })).toBe('');
    await write(page, 0, 1);
    const other = await context.newPage();
    await other.goto('blank.html');
    const refusal = await open(other, entry, image);
    expect(refusal).toContain('EBUSY');
    expect(refusal).toMatch(/another (tab|page|window)/);
    expect(await read(page, 0)).toBe(1);
    await write(page, 0, 2);
    await page.evaluate(() => (globalThis as unknown as Kept).disk.close());
    expect(await open(other, entry, image)).toBe('');
    expect(await read(other, 0)).toBe(2);
  });
}

test('a file that a person chose is read through an overlay', async ({ page, sourceURL }) => {
  await page.goto('blank.html');
  const answer = await page.evaluate(async (entry) => {
    const { openDisk, createDisk } = (await import(entry)) as typeof Diskplane;
    const blob = new File([new Uint8Array(1_024_000).fill(5)], 'chosen.img');
    const file = { driver: 'idb', database: 'overlay.qcow2' };
    await createDisk({ driver: 'qcow2', file, size: blob.size });
    const backing = { driver: 'raw', file: { driver: 'blob', blob } };
    const disk = await openDisk({ driver: 'qcow2', file, backing });
    await disk.write(500_000, new Uint8Array(512).fill(6));
    await disk.flush();
    const back = new Uint8Array(1024);
    await disk.read(499_744, back);
    await disk.close();
    return [back[0], back[256], back[767], back[768]];
  }, sourceURL('src/index.ts'));
  expect(answer).toEqual([5, 6, 6, 5]);
});

test('a page that goes away lets go of its disk', async ({ page, sourceURL }) => {
  const entry = sourceURL('src/index.ts');
  await page.goto('blank.html');
  expect(await open(page, entry, QCOW2, create)).toBe('');
  await write(page, 0, 3);
  for (let i = 0; i < 3; i++) {
    await page.goto(`blank.html?${i}`);
    expect(await open(page, entry, QCOW2)).toBe('');
    expect(await read(page, 0)).toBe(3);
  }
});

test('a worker terminated behind our back fails every call at once', async ({
  page,
  sourceURL,
}) => {
  await page.goto('blank.html');
  await page.evaluate(() => {
    const kept = globalThis as unknown as Kept;
    kept.workers = [];
    globalThis.Worker = class extends Worker {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(url, options);
        kept.workers.push(this);
      }
    };
  });
  const options = { driver: 'null-co', size: '1M', 'latency-ns': 60_000_000_000 };
  expect(await open(page, sourceURL('src/index.ts'), options)).toBe('');
  const errors = await page.evaluate(async () => {
    const { disk, workers } = globalThis as unknown as Kept;
    const reading = disk.read(0, new Uint8Array(512));
    await disk.stats();
    workers.at(-1)!.terminate();
    // The worker may still answer what it was at; once one call failed, all do.
    const pending = await Promise.allSettled([reading]);
    const settled = [...pending, ...(await Promise.allSettled([disk.stats(), disk.flush()]))];
    return settled.map((one) =>
      one.status === 'rejected' ? (one.reason as Diskplane.BlockError).code : 'resolved',
    );
  });
  expect(errors).toEqual(['ENODEV', 'ENODEV', 'ENODEV']);
  const events = await page.evaluate(() => (globalThis as unknown as Kept).events);
  expect(events).toContain('IOTHREAD_FAILED');
});

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

test('errors of the network reach the reader, never zeros', async ({ page, images, sourceURL }) => {
  const entry = sourceURL('src/index.ts');
  images.setFile('/disk.img', { bytes: new Uint8Array(4 * 1024 * 1024).fill(9) });
  const http = { driver: 'http', url: `${images.url}/disk.img`, timeout: 1, readahead: 0 };
  await page.goto('blank.html');
  expect(await open(page, entry, { driver: 'raw', file: http })).toBe('');
  expect(await read(page, 0)).toBe(9);
  images.setFault('/disk.img', { kind: 'status', status: 500 });
  const failed = await page.evaluate(async () => {
    const { disk } = globalThis as unknown as Kept;
    return disk.read(3 * 1024 * 1024, new Uint8Array(4096)).then(
      () => 'resolved',
      (error: Diskplane.BlockError) => error.code,
    );
  });
  expect(failed).toBe('EIO');
  images.setFault('/disk.img', undefined);
  expect(await read(page, 3 * 1024 * 1024)).toBe(9);
  const events = await page.evaluate(() => (globalThis as unknown as Kept).events);
  expect(events).toContain('BLOCK_IO_ERROR');
});

test('storage that is full is ENOSPC, and what was flushed stays whole', async ({
  page,
  sourceURL,
}) => {
  const entry = sourceURL('src/index.ts');
  await page.goto('blank.html');
  expect(await open(page, entry, QCOW2, create)).toBe('');
  await write(page, 0, 4);
  const session = await page.context().newCDPSession(page);
  const origin = new URL(page.url()).origin;
  await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 8 * 1024 * 1024 });
  const failure = await page.evaluate(async () => {
    const { disk } = globalThis as unknown as Kept;
    const chunk = new Uint8Array(1024 * 1024).fill(5);
    for (let at = 1024 * 1024; at < disk.length; at += chunk.length) {
      try {
        await disk.write(at, chunk);
      } catch (error) {
        return { at, code: (error as Diskplane.BlockError).code };
      }
    }
    return undefined;
  });
  expect(failure?.code).toBe('ENOSPC');
  expect(await read(page, 0)).toBe(4);
  const events = await page.evaluate(() => (globalThis as unknown as Kept).events);
  expect(events).toContain('BLOCK_IO_ERROR');
  await session.send('Storage.overrideQuotaForOrigin', { origin });
  // With room again it goes on, and the image is sound.
  await write(page, 2 * 1024 * 1024, 6);
  expect(await read(page, 2 * 1024 * 1024)).toBe(6);
  await page.evaluate(() => (globalThis as unknown as Kept).disk.close());
  expect(await open(page, entry, QCOW2)).toBe('');
  expect(await read(page, 0)).toBe(4);
  const check = await page.evaluate(() => (globalThis as unknown as Kept).disk.check());
  expect(check).toMatchObject({ corruptions: 0, checkErrors: 0 });
});
