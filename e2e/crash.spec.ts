// The browser is killed in the middle of a write storm: afterwards qcow2 has no corruption (leaks at
// most), and every file that the guest had synced is whole.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Diskplane from '../src/index.ts';
import { expect, test } from './fixtures.ts';
import { bootRig, booted, guestRun, judgeAfterCrash, needTools, qemuCheck, withOverlay } from './guest-page.ts'; // prettier-ignore
import type { Hooked } from './guest-page.ts';

/** Writes files, each synced and noted with its sum before the next; says which on the console. */
const STORM =
  'mkdir -p /data; i=0; while :; do i=$((i+1)); ' +
  'dd if=/dev/urandom of=/data/f$i bs=32k count=$((i % 7 + 1)) conv=fsync 2>/dev/null; ' +
  'md5sum /data/f$i >> /data/sums; sync; echo "SYNC""ED $i"; done';

/** Number of the last file that the guest said was synced. */
function lastSynced(said: string): number {
  return Math.max(...[...said.matchAll(/SYNCED (\d+)/g)].map(([, n]) => Number(n)));
}

test('killed in a write storm, nothing that was synced is lost: OPFS', async ({
  profile,
  previewURL,
  guest,
}) => {
  test.setTimeout(400_000);
  needTools();
  expect(guest).not.toBe('');
  const url = `${previewURL}/index.html?disk=storm`;
  let page = await (await profile.launch()).newPage();
  await page.goto(url);
  await booted(page);
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
  const sums = `head -n ${synced} /data/sums`;
  const checked = await guestRun(page, `${sums} | wc -l; ${sums} | md5sum -c`);
  expect(checked.split('\n')[0]?.trim()).toBe(String(synced));
  expect(checked.match(/: OK/g)?.length).toBe(synced);
  expect(checked).not.toContain('FAILED');
  await page.getByTestId('shutdown').click();
  await page.locator('body[data-state=off]').waitFor({ timeout: 60_000 });
  await withOverlay(page, (overlay) => {
    const found = qemuCheck(overlay);
    console.log(`${synced} files synced before the kill; qemu-img check: ${JSON.stringify(found)}`);
    expect(found).toMatchObject({ corruptions: 0, errors: 0 });
  });
});

test('killed in a write storm, nothing that was synced is lost: IndexedDB', async ({
  profile,
  sourceURL,
  guest,
}) => {
  test.setTimeout(400_000);
  needTools();
  const disk = {
    driver: 'qcow2',
    file: { driver: 'idb', database: 'storm.qcow2', create: true },
    backing: { driver: 'raw', file: { driver: 'http', url: '/guest/rootfs.img' } },
  };
  let page = await (await profile.launch()).newPage();
  await page.goto('blank.html');
  disk.backing.file.url = new URL(disk.backing.file.url, page.url()).href;
  const module = sourceURL('e2e/guest-rig.ts');
  expect(await bootRig(page, module, { disk, guest: 'linux' })).toContain('GUEST-READY');
  await page.evaluate((storm) => rig.serial.send(`${storm}\n`), STORM);
  await page.waitForFunction(() => rig.serial.text.includes('SYNCED 12\n'), undefined, {
    timeout: 120_000,
  });
  // Somewhere in the middle of whatever comes next.
  await page.waitForTimeout(137);
  const synced = lastSynced(await page.evaluate(() => rig.serial.text));
  await profile.kill();

  // What the next boot would find, by the judgement of others.
  page = await (await profile.launch()).newPage();
  await page.goto('blank.html');
  const overlay = await page.evaluate(
    async ({ entry, file }) => {
      const { openDisk } = (await import(entry)) as typeof Diskplane;
      const disk = await openDisk({ driver: 'raw', file }, { readOnly: true });
      const bytes = new Uint8Array(disk.length);
      await disk.read(0, bytes);
      const reader = new FileReader();
      reader.readAsDataURL(new Blob([bytes]));
      await new Promise((resolve) => (reader.onload = resolve));
      return reader.result as string;
    },
    { entry: sourceURL('src/index.ts'), file: { driver: 'idb', database: 'storm.qcow2' } },
  );
  const folder = mkdtempSync(join(tmpdir(), 'diskplane-e2e-'));
  try {
    const file = join(folder, 'overlay.qcow2');
    writeFileSync(file, Buffer.from(overlay.slice(overlay.indexOf(',') + 1), 'base64'));
    const found = qemuCheck(file);
    console.log(`${synced} files synced before the kill; qemu-img check: ${JSON.stringify(found)}`);
    judgeAfterCrash(folder, file, join(guest, 'rootfs.img'), synced);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
