// The browser is killed in the middle of a write storm: afterwards qcow2 has no corruption (leaks at
// most), and every file that the guest had synced is whole.

import { expect, test } from './fixtures.ts';
import { booted, guestRun, needTools, qemuCheck, withOverlay } from './guest-page.ts';
import type { Hooked } from './guest-page.ts';

/** Writes files, each synced and noted with its sum before the next; says which on the console. */
const STORM =
  'mkdir -p /data; i=0; while :; do i=$((i+1)); ' +
  'dd if=/dev/urandom of=/data/f$i bs=32k count=$((i % 7 + 1)) conv=fsync 2>/dev/null; ' +
  'md5sum /data/f$i >> /data/sums; sync; echo "SYNC""ED $i"; done';

test('killed in a write storm, nothing that was synced is lost', async ({
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
  const synced = Math.max(...[...said.matchAll(/SYNCED (\d+)/g)].map(([, n]) => Number(n)));
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
