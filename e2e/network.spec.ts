// A guest whose image comes over a network that fails: it gets I/O errors or recovers, never zeros or
// other bytes, and the page says what happened. The embedded guest verifies a pattern in the image.

import type { Page } from '@playwright/test';
import type * as DiskImage from '../src/demo/embedded-guest/disk-image.ts';
import { expect, test } from './fixtures.ts';
import { bootRig } from './guest-page.ts';
import type { Hooked } from './guest-page.ts';
import type { Fault } from './server/fault.ts';

const SECTORS = 2000;

/** The embedded guest's disk with a pattern in place; `.asm` sources load through the dev server. */
async function patternedImage(page: Page, module: string): Promise<Uint8Array> {
  const url = await page.evaluate(
    async ({ module, sectors }) => {
      const disk = (await import(module)) as typeof DiskImage;
      const image = disk.embeddedDiskImage();
      const state = new DataView(image.buffer, disk.STATE_LBA * disk.SECTOR_BYTES);
      state.setUint16(10, 1, true);
      state.setUint16(12, sectors, true);
      for (let i = 0; i < sectors; i++) {
        const lba = disk.PATTERN_LBA + i;
        image.set(disk.patternSector(1, lba), lba * disk.SECTOR_BYTES);
      }
      const reader = new FileReader();
      reader.readAsDataURL(new Blob([image]));
      await new Promise((resolve) => (reader.onload = resolve));
      return reader.result as string;
    },
    { module, sectors: SECTORS },
  );
  return Buffer.from(url.slice(url.indexOf(',') + 1), 'base64');
}

/** Types a command; answers what the guest says to it. */
function type(page: Page, keys: string): Promise<string> {
  return page.evaluate(async (keys) => {
    const { serial } = (globalThis as unknown as Hooked).diskplane.machine!;
    const from = serial.position;
    serial.send(keys);
    const signal = AbortSignal.timeout(90_000);
    return (await serial.waitFor(/[^]*\nguest# $/, { from, signal }))[0];
  }, keys);
}

const OK = `VERIFY-OK sectors=${SECTORS}\n`;
const cases: readonly [name: string, fault: Fault, now: string, afterwards: string][] = [
  ['errors 500', { kind: 'status', status: 500 }, 'IO-ERROR', OK],
  [
    'one error 503 and Retry-After',
    { kind: 'status', status: 503, retryAfter: 1, times: 1 },
    OK,
    OK,
  ],
  ['bodies cut short, twice', { kind: 'truncate', times: 2 }, OK, OK],
  ['connections reset, twice', { kind: 'reset', times: 2 }, OK, OK],
  ['another image under the same name', { kind: 'change-etag' }, 'IO-ERROR', 'IO-ERROR'],
  ['a server that ignores Range', { kind: 'ignore-range' }, 'IO-ERROR', OK],
  ['compressed answers', { kind: 'gzip' }, 'IO-ERROR', OK],
];

test("the guest's image over a bad network: zeros never, and words for what happened", async ({
  page,
  images,
  previewURL,
  sourceURL,
}) => {
  await page.goto('blank.html');
  const image = await patternedImage(page, sourceURL('src/demo/embedded-guest/disk-image.ts'));
  for (const [i, [name, fault, now, afterwards]] of cases.entries()) {
    await test.step(name, async () => {
      const path = `/net-${i}.img`;
      images.setFile(path, { bytes: image });
      await page.goto(`${previewURL}/?image=${images.url}${path}`);
      await page.waitForFunction(
        () => (globalThis as unknown as Hooked).diskplane.serialText.endsWith('\nguest# '),
        undefined,
        { timeout: 60_000 },
      );
      images.setFault(path, fault);
      expect(await type(page, 'v'), name).toContain(now);
      if (now !== OK)
        await expect(page.getByTestId('log')).toContainText(/read|changed|network|error/i);
      images.setFault(path, undefined);
      expect(await type(page, 'v'), name).toContain(afterwards);
    });
  }
});

/** What lasts: each try fails, and the guest hears of it after at most five times the time limit. */
const lasting: readonly [fault: Fault, says: string][] = [
  [{ kind: 'status', status: 500 }, 'status 500'],
  [{ kind: 'stall', bytes: 1000 }, 'no complete answer'],
  [{ kind: 'hang' }, 'no complete answer'],
  [{ kind: 'truncate', bytes: 1000 }, 'the body ends'],
  [{ kind: 'reset', bytes: 1000 }, 'the request failed'],
  [{ kind: 'refuse' }, 'the request failed'],
  [{ kind: 'wrong-content-range' }, 'asked for bytes'],
  [{ kind: 'no-total' }, 'total size'],
  [{ kind: 'weak-etag' }, 'no ETag to check'],
];

test('failures that last reach the guest as I/O errors within the time limit, and are not kept', async ({
  page,
  images,
  sourceURL,
}) => {
  await page.goto('blank.html');
  const image = await patternedImage(page, sourceURL('src/demo/embedded-guest/disk-image.ts'));
  images.setFile('/net.img', { bytes: image });
  const http = {
    driver: 'http',
    'node-name': 'server',
    url: `${images.url}/net.img`,
    timeout: 0.5,
  };
  const disk = {
    driver: 'qcow2',
    file: { driver: 'opfs', path: 'net.qcow2', create: true },
    backing: { driver: 'raw', file: { ...http, 'cache-size': '256K', readahead: 0 } },
  };
  await bootRig(page, sourceURL('e2e/guest-rig.ts'), { disk, guest: 'embedded' });
  for (const [fault, says] of lasting) {
    images.setFault('/net.img', fault);
    expect(await page.evaluate(() => rig.type('v')), fault.kind).toContain('IO-ERROR');
    const lastError = await page.evaluate(async () => {
      const { nodes } = await rig.disk.stats();
      return nodes.find(({ nodeName }) => nodeName === 'server')!.info['lastError'];
    });
    // A machine that is busy enough lets any try run out of time.
    expect(lastError, fault.kind).toMatch(new RegExp(`${says}|no complete answer`));
    images.setFault('/net.img', undefined);
    expect(await page.evaluate(() => rig.type('v')), fault.kind).toContain(OK);
  }
  const events = await page.evaluate(() => rig.events.map(({ event }) => event));
  expect(events.filter((event) => event === 'BLOCK_IO_ERROR').length).toBeGreaterThanOrEqual(
    lasting.length,
  );
});
