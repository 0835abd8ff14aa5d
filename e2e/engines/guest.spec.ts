// Guests on the built workbench in another engine: the embedded one on both transports, whose writes are there
// after a reload, and Linux, which reads back what it wrote.

import { expect, test } from './fixtures.ts';
import { booted, guestRun, press, transportOf, type, untilState } from './workbench.ts';

const EMBEDDED_MS = 40_000;
const LINUX_MS = 75_000;

const bootsOfEmbedded = (text: string): number =>
  Number(/EMBEDDED-READY boots=(\d+)\n/.exec(text)?.[1]);
const bootsOfLinux = (text: string): number =>
  Number(/GUEST-READY root=\/dev\/vda boots=(\d+)/.exec(text)?.[1]);

for (const transport of ['zero-copy', 'bounce'] as const) {
  test(`the embedded guest keeps its disk through a reload and a shut-down (${transport})`, async ({
    newTab,
  }) => {
    const tab = await newTab();
    await tab.goto(`/?guest=embedded&transport=${transport}&disk=${transport}`);
    expect(bootsOfEmbedded(await booted(tab, EMBEDDED_MS))).toBe(1);
    expect(await transportOf(tab)).toBe(transport);
    expect(await type(tab, 'v')).toContain('VERIFY-NOTHING');
    expect(await type(tab, 'w')).toContain('WRITE-OK sectors=1024\n');
    expect(await type(tab, 'v')).toContain('VERIFY-OK sectors=1024\n');

    await tab.reload();
    expect(bootsOfEmbedded(await booted(tab, EMBEDDED_MS))).toBe(2);
    expect(await type(tab, 'v')).toContain('VERIFY-OK sectors=1024\n');
    await press(tab, 'shutdown');
    await untilState(tab, 'off');
    await press(tab, 'start');
    expect(bootsOfEmbedded(await booted(tab, EMBEDDED_MS))).toBe(3);
  });
}

test('Linux keeps what it writes', async ({ newTab, guest }) => {
  expect(guest).not.toBe('');
  test.setTimeout(2 * LINUX_MS);
  const tab = await newTab();
  await tab.goto('/?guest=linux&disk=linux');
  expect(bootsOfLinux(await booted(tab, LINUX_MS))).toBe(1);
  expect(await transportOf(tab)).toBe('zero-copy');
  expect(await guestRun(tab, 'md5sum -c /usr/share/checksums/MD5SUMS')).not.toContain('FAILED');
  await guestRun(
    tab,
    'mkdir /data; for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=/data/f$i bs=32k count=$i; done',
  );
  const sums = await guestRun(tab, 'cd /data; md5sum * > /root/sums; cd /; cat /root/sums; sync');
  expect(sums.split('\n').length).toBe(6);
  await guestRun(tab, 'echo 3 > /proc/sys/vm/drop_caches');
  const checked = await guestRun(tab, 'cd /data; md5sum -c /root/sums; cd /');
  expect(checked.match(/: OK/g)?.length).toBe(6);
  await press(tab, 'shutdown');
  await untilState(tab, 'off');
});
