// A page that is not cross-origin isolated: no SharedArrayBuffer on either side. The package as it is
// published keeps disks there all the same, and the workbench boots guests from them, by messages and
// by v86's own IDE.

import type { Page } from '@playwright/test';
import type { V86 } from 'v86';
import type * as DiskplaneV86 from '../src/adapters/v86.ts';
import type * as DiskImage from '../src/demo/embedded-guest/disk-image.ts';
import type * as Diskplane from '../src/index.ts';
import { Prng } from '../src/testing/prng.ts';
import { booted, type } from './embedded-page.ts';
import { expect, test as base } from './fixtures.ts';
import { startPlainServer } from './server/plain-server.ts';

/** What test pages keep between calls. */
interface Kept {
  disk: Diskplane.Disk;
}

const test = base.extend<{ plainURL: string }>({
  plainURL: async ({}, use) => {
    const server = await startPlainServer();
    await use(server.url);
    await server.close();
  },
});

test.use({ shareBrowser: true });

const MIB = 1024 * 1024;

async function expectPlain(page: Page): Promise<void> {
  const found = await page.evaluate(() => [crossOriginIsolated, typeof SharedArrayBuffer]);
  expect(found).toEqual([false, 'undefined']);
}

test('a disk in OPFS over an image on a server outlives its page', async ({
  page,
  plainURL,
  images,
}) => {
  const base = new Prng(3).bytes(8 * MIB);
  images.setFile('/base.img', { bytes: base });
  const options = {
    driver: 'qcow2',
    file: { driver: 'opfs', path: 'plain.qcow2', create: true },
    backing: { driver: 'raw', file: { driver: 'http', url: `${images.url}/base.img` } },
  };
  const open = (): Promise<readonly [string, number]> =>
    page.evaluate(async (options) => {
      const name = 'diskplane'; // The page's import map says where that is.
      const { openDisk } = (await import(name)) as typeof Diskplane;
      const disk = await openDisk(options);
      (globalThis as unknown as Kept).disk = disk;
      return [disk.transport, disk.length] as const;
    }, options);
  const read = (offset: number, bytes: number): Promise<number[]> =>
    page.evaluate(
      async ([offset, bytes]) => {
        const target = new Uint8Array(bytes);
        await (globalThis as unknown as Kept).disk.read(offset, target);
        return [...target];
      },
      [offset, bytes] as const,
    );

  await page.goto(plainURL);
  await expectPlain(page);
  expect(await open()).toEqual(['messages', base.length]);
  expect(await read(1_000_001, 5000)).toEqual([...base.subarray(1_000_001, 1_005_001)]);
  await page.evaluate(async () => {
    const { disk } = globalThis as unknown as Kept;
    // Many at a time, and more than fits at once.
    const writes = Array.from({ length: 40 }, (_, i) =>
      disk.write(i * 150_000, new Uint8Array(100_000).fill(i + 1)),
    );
    await Promise.all(writes);
    await disk.flush();
  });
  // The page goes with the disk open.
  await page.reload();
  expect(await open()).toEqual(['messages', base.length]);
  for (const i of [0, 17, 39]) {
    const at = i * 150_000;
    expect(await read(at + 99_000, 2000)).toEqual([
      ...new Uint8Array(1000).fill(i + 1),
      ...base.subarray(at + 100_000, at + 101_000),
    ]);
  }
  const closed = await page.evaluate(async () => {
    const { disk } = globalThis as unknown as Kept;
    const { corruptions, leaks } = await disk.check();
    const failed = await disk.read(disk.length, new Uint8Array(512)).catch((error: Error) => error);
    await disk.close();
    const gone = await disk.flush().catch((error: Diskplane.BlockError) => error.code);
    return { corruptions, leaks, failed: (failed as Diskplane.BlockError).code, gone };
  });
  expect(closed).toEqual({ corruptions: 0, leaks: 0, failed: 'EINVAL', gone: 'ENODEV' });
});

test('a worker that is terminated fails what is under way, and what comes', async ({
  page,
  plainURL,
}) => {
  await page.goto(plainURL);
  const codes = await page.evaluate(async () => {
    const workers: Worker[] = [];
    globalThis.Worker = class extends Worker {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(url, options);
        workers.push(this);
      }
    };
    const name = 'diskplane';
    const { openDisk } = (await import(name)) as typeof Diskplane;
    const disk = await openDisk({ driver: 'null-co', size: '1M', 'latency-ns': 60_000_000_000 });
    const reading = disk.read(0, new Uint8Array(512));
    await disk.stats();
    workers[0]!.terminate();
    const settled = await Promise.allSettled([reading]);
    settled.push(...(await Promise.allSettled([disk.flush()])));
    return settled.map((one) =>
      one.status === 'rejected' ? (one.reason as Diskplane.BlockError).code : 'resolved',
    );
  });
  expect(codes).toEqual(['ENODEV', 'ENODEV']);
});

test('the embedded guest keeps its disk in the workbench', async ({ page, plainURL }) => {
  await page.goto(`${plainURL}/workbench/?guest=embedded`);
  await expectPlain(page);
  expect(await booted(page)).toBe(1);
  await expect(page.getByTestId('transport')).toHaveAttribute('data-transport', 'messages');
  await expect(page.getByTestId('transport-reason')).toContainText('not cross-origin isolated');
  await expect(page.getByTestId('other-transport')).toHaveCount(0);
  expect(await type(page, '300w')).toContain('WRITE-OK sectors=300\n');
  await page.reload();
  expect(await booted(page)).toBe(2);
  expect(await type(page, 'v')).toContain('VERIFY-OK sectors=300\n');
});

/** What the page of the next test keeps. */
interface IdeMachine {
  text: string;
  emulator: V86;
  disk: Diskplane.Disk;
  errors: string[];
}

test("the embedded guest boots by v86's own IDE", async ({ page, plainURL, sourceURL }) => {
  await page.goto(plainURL);
  await page.evaluate(
    async ([image, diskplane, adapter, emulator]) => {
      const { embeddedDiskImage } = (await import(image)) as typeof DiskImage;
      const { openDisk } = (await import(diskplane)) as typeof Diskplane;
      const { hdaBuffer } = (await import(adapter)) as typeof DiskplaneV86;
      const v86 = (await import(emulator)) as { V86: typeof V86 };
      const kept = globalThis as unknown as IdeMachine;
      kept.text = '';
      kept.errors = [];
      const bytes = embeddedDiskImage();
      const file = { driver: 'opfs', path: 'ide.qcow2', create: true };
      kept.disk = await openDisk({ driver: 'qcow2', file, size: bytes.length });
      await kept.disk.write(0, bytes);
      const hda = hdaBuffer(kept.disk, { onError: (error) => kept.errors.push(error.message) });
      kept.emulator = new v86.V86({
        wasm_path: '/v86/v86.wasm',
        bios: { url: '/workbench/bios/seabios.bin' },
        vga_bios: { url: '/workbench/bios/vgabios.bin' },
        memory_size: 32 * 1024 * 1024,
        boot_order: 0x132,
        hda: hda as unknown as { buffer: ArrayBuffer },
        autostart: true,
      });
      kept.emulator.add_listener('serial0-output-byte', (byte) => {
        kept.text += String.fromCharCode(byte);
      });
    },
    [
      sourceURL('src/demo/embedded-guest/disk-image.ts'),
      'diskplane',
      'diskplane/v86',
      'v86',
    ] as const,
  );
  const heard = async (words: string): Promise<void> => {
    await page.waitForFunction(
      (words) => (globalThis as unknown as IdeMachine).text.includes(words),
      words,
    );
  };
  const send = (keys: string): Promise<void> =>
    page.evaluate(
      (keys) => (globalThis as unknown as IdeMachine).emulator.serial0_send(keys),
      keys,
    );
  await heard('EMBEDDED-READY boots=1');
  await heard('guest# ');
  await send('64w');
  await heard('WRITE-OK sectors=64');
  await send('v');
  await heard('VERIFY-OK sectors=64');
  const { transport, errors, writeOps } = await page.evaluate(async () => {
    const { disk, errors, emulator } = globalThis as unknown as IdeMachine;
    const { counts } = await disk.stats();
    const root = counts.find(({ nodeName }) => nodeName === disk.rootNode)!;
    await emulator.destroy();
    await disk.close();
    return { transport: disk.transport, errors, writeOps: root.writeOps };
  });
  expect({ transport, errors }).toEqual({ transport: 'messages', errors: [] });
  expect(writeOps).toBeGreaterThan(1);
});
