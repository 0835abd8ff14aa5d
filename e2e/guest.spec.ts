// The main job, whole: Linux boots from virtio-blk over qcow2 in OPFS over an image fetched by HTTP with
// 20 ms of latency, on both transports. What it wrote is on the disk, whether it was shut down or its browser
// killed in the midst of writing: the downloaded overlay is a valid qcow2 to QEMU, and its file system is clean.

import type { Page } from '@playwright/test';
import { join } from 'node:path';
import { expect, test } from './fixtures.ts';
import { STORM, booted, guestRun, judgeFiles, lastSynced, needTools, withOverlay } from './guest-page.ts'; // prettier-ignore
import type { Hooked } from './guest-page.ts';

/** Boots it anew; every sample of its image is read and checked. */
async function firstBoot(page: Page, url: string, transport: string): Promise<void> {
  await page.goto(url);
  expect(await booted(page)).toBe(1);
  expect(
    await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.attachment?.transport),
  ).toBe(transport);
  expect(await guestRun(page, 'md5sum -c /usr/share/checksums/MD5SUMS')).not.toContain('FAILED');
}

/** Makes 14 files in /data, some removed again, synced; answers their sums. */
async function writeFiles(page: Page): Promise<string> {
  await guestRun(
    page,
    'mkdir /data; for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=/data/f$i bs=32k count=$i; done',
  );
  await guestRun(
    page,
    'for i in 1 2 3 4 5 6 7 8 9; do cp /etc/motd /data/small$i; done; rm /data/small5',
  );
  const sums = await guestRun(page, 'cd /data; md5sum * > /root/sums; cd /; cat /root/sums');
  expect(sums.split('\n').length).toBe(14);
  await guestRun(page, 'sync');
  return sums;
}

async function shutDown(page: Page): Promise<void> {
  await page.getByTestId('shutdown').click();
  await page.locator('body[data-state=off]').waitFor({ timeout: 60_000 });
}

test('the guest keeps what it writes, and QEMU agrees (bounce)', async ({
  page,
  previewURL,
  guest,
}) => {
  test.setTimeout(400_000);
  needTools();
  const url = `${previewURL}/index.html?transport=bounce&delay=20&disk=e2e-bounce`;
  await firstBoot(page, url, 'bounce');
  const sums = await writeFiles(page);
  await shutDown(page);
  await withOverlay(page, (overlay, work) =>
    judgeFiles(work, overlay, join(guest, 'rootfs.img'), sums),
  );
});

test('the guest keeps what it synced when its browser is killed in a write storm (zero-copy)', async ({
  profile,
  previewURL,
  guest,
}) => {
  test.setTimeout(400_000);
  needTools();
  const url = `${previewURL}/index.html?transport=zero-copy&delay=20&disk=e2e-zero-copy`;
  let page = await (await profile.launch()).newPage();
  await firstBoot(page, url, 'zero-copy');
  const sums = await writeFiles(page);
  await page.evaluate((storm) => {
    const { machine } = (globalThis as unknown as Hooked).diskplane;
    machine!.serial.send(`${storm}\n`);
  }, STORM);
  await page.waitForFunction(
    () => (globalThis as unknown as Hooked).diskplane.serialText.includes('SYNCED 12\n'),
    undefined,
    { timeout: 120_000 },
  );
  // Somewhere in the middle of whatever comes next.
  await page.waitForTimeout(137);
  const said = await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.serialText);
  await profile.kill();
  const synced = lastSynced(said);
  expect(synced).toBeGreaterThanOrEqual(12);

  page = await (await profile.launch()).newPage();
  await page.goto(url);
  expect(await booted(page)).toBe(2);
  const stormy = `head -n ${synced} /storm/sums`;
  const checked = await guestRun(page, `${stormy} | wc -l; ${stormy} | md5sum -c`);
  expect(checked.split('\n')[0]?.trim()).toBe(String(synced));
  expect(checked.match(/: OK/g)?.length).toBe(synced);
  expect(checked).not.toContain('FAILED');
  expect(await guestRun(page, 'cd /data; md5sum *; cd /')).toBe(sums);
  await shutDown(page);
  await withOverlay(page, (overlay, work) => {
    const found = judgeFiles(work, overlay, join(guest, 'rootfs.img'), sums, 'leaks at most');
    console.log(`${synced} files synced before the kill; qemu-img check: ${JSON.stringify(found)}`);
  });
});
