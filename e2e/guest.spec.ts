// The main job, whole: Linux boots from virtio-blk over qcow2 in OPFS over an image fetched by HTTP with
// 20 ms of latency; what it writes is there after a reload; the downloaded overlay is a valid qcow2 to
// QEMU, and its file system is clean. On both transports.

import { join } from 'node:path';
import { expect, test } from './fixtures.ts';
import { booted, guestRun, judgeFiles, needTools, withOverlay } from './guest-page.ts';
import type { Hooked } from './guest-page.ts';

for (const transport of ['zero-copy', 'bounce'] as const) {
  test(`the guest keeps what it writes, and QEMU agrees (${transport})`, async ({
    page,
    previewURL,
    guest: folder,
  }) => {
    test.setTimeout(400_000);
    needTools();
    const url = `${previewURL}/index.html?transport=${transport}&delay=20&disk=e2e-${transport}`;

    await page.goto(url);
    expect(await booted(page)).toBe(1);
    expect(
      await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.attachment?.transport),
    ).toBe(transport);
    expect(await guestRun(page, 'md5sum -c /usr/share/checksums/MD5SUMS')).not.toContain('FAILED');
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

    await page.reload();
    expect(await booted(page)).toBe(2);
    await guestRun(page, 'echo 3 > /proc/sys/vm/drop_caches');
    const checked = await guestRun(page, 'cd /data; md5sum -c /root/sums; cd /');
    expect(checked.match(/: OK/g)?.length).toBe(14);
    expect(checked).not.toContain('FAILED');
    expect(await guestRun(page, 'cat /root/sums')).toBe(sums);

    await page.getByTestId('shutdown').click();
    await page.locator('body[data-state=off]').waitFor({ timeout: 60_000 });
    await withOverlay(page, (overlay, work) =>
      judgeFiles(work, overlay, join(folder, 'rootfs.img'), sums),
    );
  });
}
