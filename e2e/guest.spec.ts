// The main job, whole: Linux boots from virtio-blk over qcow2 in OPFS over an image fetched by HTTP with
// 20 ms of latency; what it writes is there after a reload; the downloaded overlay is a valid qcow2 to
// QEMU, and its file system is clean. On both transports.

import type { Page } from '@playwright/test';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkbenchHooks } from '../src/demo/test-hooks.ts';
import { expect, test } from './fixtures.ts';

interface Hooked {
  diskplane: WorkbenchHooks;
}

/** Waits for the guest's prompt; answers how often this disk was booted. */
async function booted(page: Page): Promise<number> {
  await page
    .locator('body[data-state=running], body[data-state=error]')
    .waitFor({ timeout: 150_000 });
  expect(await page.locator('body').getAttribute('data-state')).toBe('running');
  const text = await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.serialText);
  return Number(/GUEST-READY root=\/dev\/vda boots=(\d+)/.exec(text)?.[1]);
}

/** Runs a command in the guest's shell; answers what it printed. */
function guest(page: Page, command: string): Promise<string> {
  return page.evaluate(async (command) => {
    const { machine } = (globalThis as unknown as Hooked).diskplane;
    const serial = machine!.serial;
    const from = serial.text.length;
    await serial.run(command, AbortSignal.timeout(120_000));
    // Without the echo of the command and the next prompt.
    return serial.text.slice(from).split('\n').slice(1, -1).join('\n');
  }, command);
}

function run(tool: string, ...args: string[]): string {
  return execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** The tools that judge the disk; where they are missing, the test fails under CI and is skipped else. */
function missingTools(): string[] {
  return ['qemu-img', 'e2fsck', 'debugfs'].filter((tool) => {
    try {
      execFileSync('sh', ['-c', `PATH=$PATH:/sbin:/usr/sbin command -v ${tool}`], {
        stdio: 'ignore',
      });
      return false;
    } catch {
      return true;
    }
  });
}

for (const transport of ['zero-copy', 'bounce'] as const) {
  test(`the guest keeps what it writes, and QEMU agrees (${transport})`, async ({
    page,
    previewURL,
    guest: folder,
  }) => {
    test.setTimeout(400_000);
    const missing = missingTools();
    if (missing.length > 0 && process.env['CI']) throw new Error(`missing: ${missing.join(', ')}`);
    test.skip(missing.length > 0, `missing: ${missing.join(', ')}`);
    const url = `${previewURL}/index.html?transport=${transport}&delay=20&disk=e2e-${transport}`;

    await page.goto(url);
    expect(await booted(page)).toBe(1);
    expect(
      await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.attachment?.transport),
    ).toBe(transport);
    expect(await guest(page, 'md5sum -c /usr/share/checksums/MD5SUMS')).not.toContain('FAILED');
    await guest(
      page,
      'mkdir /data; for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=/data/f$i bs=32k count=$i; done',
    );
    await guest(
      page,
      'for i in 1 2 3 4 5 6 7 8 9; do cp /etc/motd /data/small$i; done; rm /data/small5',
    );
    const sums = await guest(page, 'cd /data; md5sum * > /root/sums; cd /; cat /root/sums');
    expect(sums.split('\n').length).toBe(14);
    await guest(page, 'sync');

    await page.reload();
    expect(await booted(page)).toBe(2);
    await guest(page, 'echo 3 > /proc/sys/vm/drop_caches');
    const checked = await guest(page, 'cd /data; md5sum -c /root/sums; cd /');
    expect(checked.match(/: OK/g)?.length).toBe(14);
    expect(checked).not.toContain('FAILED');
    expect(await guest(page, 'cat /root/sums')).toBe(sums);

    await page.getByTestId('shutdown').click();
    await page.locator('body[data-state=off]').waitFor({ timeout: 60_000 });
    await page.evaluate(() => Reflect.deleteProperty(globalThis, 'showSaveFilePicker'));
    const [download] = await Promise.all([
      page.waitForEvent('download', { timeout: 60_000 }),
      page.getByTestId('download').click({ timeout: 10_000 }),
    ]);
    const work = mkdtempSync(join(tmpdir(), 'diskplane-e2e-'));
    try {
      const overlay = join(work, 'overlay.qcow2');
      await download.saveAs(overlay);
      judge(work, overlay, join(folder, 'rootfs.img'), sums);
    } finally {
      rmSync(work, { recursive: true });
    }
  });
}

/** qemu-img, e2fsck and debugfs on the overlay: clean, and the files are in it. */
function judge(work: string, overlay: string, base: string, sums: string): void {
  process.env['PATH'] += ':/sbin:/usr/sbin';
  const report = JSON.parse(run('qemu-img', 'check', '--output=json', overlay)) as Record<
    string,
    number
  >;
  expect(report['corruptions'] ?? 0).toBe(0);
  expect(report['check-errors']).toBe(0);
  expect(report['leaks'] ?? 0).toBe(0);

  // The overlay does not name its backing file; QEMU is told.
  copyFileSync(base, join(work, 'base.img'));
  run('qemu-img', 'rebase', '-u', '-b', join(work, 'base.img'), '-F', 'raw', overlay);
  const flat = join(work, 'flat.img');
  run('qemu-img', 'convert', '-O', 'raw', overlay, flat);
  run('e2fsck', '-fn', flat); // Throws when it exits with anything but 0: clean.
  for (const line of sums.split('\n')) {
    const [md5, name] = line.trim().split(/\s+/);
    const out = join(work, 'file');
    run('debugfs', '-R', `dump /data/${name} ${out}`, flat);
    expect(createHash('md5').update(readFileSync(out)).digest('hex'), name).toBe(md5);
  }
}
