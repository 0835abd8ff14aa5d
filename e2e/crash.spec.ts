// The browser is killed in the middle of a write storm on IndexedDB: afterwards qcow2 has no corruption (leaks
// at most), and every file that the guest had synced is whole. On OPFS: guest.spec.ts.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Diskplane from '../src/index.ts';
import { expect, test } from './fixtures.ts';
import { STORM, bootRig, judgeAfterCrash, lastSynced, needTools, qemuCheck } from './guest-page.ts';

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
    judgeAfterCrash(folder, file, join(guest, 'rootfs.img'), '/storm', synced);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
