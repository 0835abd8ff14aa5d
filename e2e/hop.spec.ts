// A guest's disk hops between two IOThreads while the guest writes, syncs and reads back: it sees
// neither an error nor a wrong byte, and the image is whole afterwards.

import type { Page } from '@playwright/test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median, quantile } from '../src/demo/bench/statistics.ts';
import type * as DiskHops from './disk-hops.ts';
import { expect, test } from './fixtures.ts';
import { bootRig, judgeAfterCrash, needTools, type } from './guest-page.ts';

/** Files that the guest writes. */
const FILES = 8;
/** Writes files of which it knows the sums, synced, and reads each back from the disk itself. */
const WORK =
  `mkdir -p /data; i=0; while [ $i -lt ${FILES} ]; do i=$((i+1)); ` +
  'head -c 65536 /dev/urandom > /run/source; s=$(md5sum < /run/source); ' +
  'dd if=/run/source of=/data/f$i bs=16k conv=fsync 2>/dev/null || echo "FAI""LED"; ' +
  'echo 1 > /proc/sys/vm/drop_caches; [ "$(md5sum < /data/f$i)" = "$s" ] || echo "FAI""LED"; ' +
  'echo "${s%% *}  /data/f$i" >> /data/sums; echo "SUM""S $i"; done';

function hops(page: Page, module: string, hops: number, seen: string): Promise<number[]> {
  return page.evaluate(
    async ({ module, hops, seen }) => {
      const { hop } = (await import(module)) as typeof DiskHops;
      return hop(rig.disk, { hops, until: () => rig.serial.text.includes(seen) });
    },
    { module, hops, seen },
  );
}

/** Copies the backing image into the origin's private file system, and has it there from then on, in use. */
function replaceBacking(page: Page, image: string): Promise<void> {
  return page.evaluate(async (image) => {
    const folder = await navigator.storage.getDirectory();
    const file = await folder.getFileHandle('base.img', { create: true });
    await (await fetch(image)).body!.pipeTo(await file.createWritable());
    const base = { driver: 'opfs', path: 'base.img' };
    const raw = { driver: 'raw', 'node-name': 'base', 'read-only': true, file: base };
    await rig.disk.thread.blockdevAdd(raw);
    await rig.disk.reopen({ backing: 'base' });
  }, image);
}

/** Of the origin's private file system. */
async function download(page: Page, name: string): Promise<Buffer> {
  const url = await page.evaluate(async (name) => {
    const folder = await navigator.storage.getDirectory();
    const file = await (await folder.getFileHandle(name)).getFile();
    const reader = new FileReader();
    reader.readAsDataURL(file);
    await new Promise((resolve) => (reader.onload = resolve));
    return reader.result as string;
  }, name);
  return Buffer.from(url.slice(url.indexOf(',') + 1), 'base64');
}

test('a guest that writes and syncs does not notice that its disk hops 120 times', async ({
  page,
  sourceURL,
  guest,
}) => {
  needTools();
  await page.goto('blank.html');
  const image = new URL('/guest/rootfs.img', page.url()).href;
  const disk = {
    driver: 'qcow2',
    file: { driver: 'opfs', path: 'hops.qcow2', create: true },
    backing: { driver: 'raw', file: { driver: 'http', url: image } },
  };
  const options = { disk, guest: 'linux', transport: 'zero-copy' } as const;
  expect(await bootRig(page, sourceURL('e2e/guest-rig.ts'), options)).toContain('GUEST-READY');
  expect(await page.evaluate(() => rig.device.transport)).toBe('zero-copy');
  await page.evaluate((work) => rig.serial.send(`${work}\n`), WORK);
  await page.waitForFunction(() => rig.serial.text.includes('SUMS 1\n'));

  const module = sourceURL('e2e/disk-hops.ts');
  await hops(page, module, 20, 'SUMS 2\n');
  // What is waited for below is no server from here on.
  await replaceBacking(page, image);
  const pauses = await hops(page, module, 100, `SUMS ${FILES}\n`);

  const [p50, p99] = [median(pauses), quantile(pauses, 0.99)];
  console.log(`${pauses.length} hops: pause p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`);
  const said = await type(page, 'echo 3 > /proc/sys/vm/drop_caches; md5sum -c /data/sums\n');
  expect(said + (await page.evaluate(() => rig.serial.text))).not.toContain('FAILED');
  expect(await type(page, 'dmesg | grep -ci "i/o error\\|ext4-fs error"\n')).toMatch(/^\s*0$/m);
  expect(said.match(/: OK/g)?.length).toBe(FILES);
  await type(page, 'sync\n');
  expect(await page.evaluate(() => rig.events)).toEqual([]);
  await page.evaluate(() => rig.end());

  const folder = mkdtempSync(join(tmpdir(), 'diskplane-e2e-'));
  try {
    const overlay = join(folder, 'overlay.qcow2');
    writeFileSync(overlay, await download(page, 'hops.qcow2'));
    judgeAfterCrash(folder, overlay, join(guest, 'rootfs.img'), '/data', FILES);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
