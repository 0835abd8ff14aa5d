// What can go wrong under a running guest, and neither the network nor a crash: a second tab, a full
// storage, an IOThread that dies. In OPFS and in IndexedDB, with the embedded guest.

import type { Page } from '@playwright/test';
import { expect, test } from './fixtures.ts';
import { bootRig, type } from './guest-page.ts';

const STORAGES = [
  ['OPFS', { driver: 'opfs', path: 'failures.qcow2' }],
  ['IndexedDB', { driver: 'idb', database: 'failures.qcow2' }],
] as const;

/** Codes that the page was told of, each once. */
function errorCodes(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const codes = rig.events.map((event) => (event.event === 'BLOCK_IO_ERROR' ? event.code : ''));
    return [...new Set(codes)].filter((code) => code !== '');
  });
}

for (const [where, file] of STORAGES) {
  const disk = { driver: 'qcow2', file };
  const fresh = { create: { ...disk, size: '4M' }, install: true };

  test(`a second tab that wants the guest's disk does it no harm: ${where}`, async ({
    context,
    page,
    sourceURL,
  }) => {
    const module = sourceURL('e2e/guest-rig.ts');
    await page.goto('blank.html');
    expect(await bootRig(page, module, { disk, ...fresh, guest: 'embedded' })).toContain(
      'boots=1\n',
    );
    expect(await type(page, '200w')).toContain('WRITE-OK sectors=200\n');
    const other = await context.newPage();
    await other.goto('blank.html');
    const refused = await bootRig(other, module, { disk, guest: 'embedded' });
    expect(refused).toMatch(/^EBUSY: .*failures\.qcow2.*another (tab|page|window)/);
    expect(await type(page, 'v')).toContain('VERIFY-OK sectors=200\n');
    expect(await type(page, '300w')).toContain('WRITE-OK sectors=300\n');
    await page.evaluate(() => rig.end());
    expect(await bootRig(other, module, { disk, guest: 'embedded' })).toContain('boots=2\n');
    expect(await type(other, 'v')).toContain('VERIFY-OK sectors=300\n');
  });

  test(`a guest whose storage is full gets errors and goes on afterwards: ${where}`, async ({
    page,
    sourceURL,
  }) => {
    const module = sourceURL('e2e/guest-rig.ts');
    await page.goto('blank.html');
    const session = await page.context().newCDPSession(page);
    const origin = new URL(page.url()).origin;
    // Before anything is stored: IndexedDB remembers for half a minute that there was room.
    const quotaSize = 3 * 1024 * 1024;
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize });
    await bootRig(page, module, { disk, ...fresh, guest: 'embedded' });
    expect(await type(page, '64w')).toContain('WRITE-OK sectors=64\n');
    expect(await type(page, '6000w')).toContain('IO-ERROR');
    expect(await errorCodes(page)).toEqual(['ENOSPC']);
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    // With room again it goes on; the boots that it counted were flushed.
    expect(await type(page, '500w')).toContain('WRITE-OK sectors=500\n');
    expect(await type(page, 'v')).toContain('VERIFY-OK sectors=500\n');
    await page.evaluate(() => rig.end());
    expect(await bootRig(page, module, { disk, guest: 'embedded' })).toContain('boots=2\n');
    expect(await type(page, 'v')).toContain('VERIFY-OK sectors=500\n');
    const check = await page.evaluate(() => rig.disk.check());
    expect(check).toMatchObject({ corruptions: 0, checkErrors: 0 });
  });
}

for (const transport of ['zero-copy', 'bounce'] as const) {
  test(`an IOThread that dies under a guest: calls fail, the device needs reset (${transport})`, async ({
    page,
    sourceURL,
  }) => {
    await page.goto('blank.html');
    const module = sourceURL('e2e/guest-rig.ts');
    const disk = { driver: 'memory', size: '4M' };
    await bootRig(page, module, { disk, install: true, guest: 'embedded', transport });
    expect(await type(page, '64w')).toContain('WRITE-OK sectors=64\n');
    const answer = await page.evaluate(async () => {
      const { disk, device, worker, events } = globalThis.rig;
      const gone = new Promise<void>((resolve) => {
        disk.thread.onEvent(({ event }) => event === 'IOTHREAD_FAILED' && resolve());
      });
      worker.terminate();
      await gone;
      const read = await disk.read(0, new Uint8Array(512)).catch((error: Error) => error);
      const save = await device.save().catch((error: Error) => error);
      return {
        transport: device.transport,
        calls: [read, save].map((error) => (error as Error & { code: string }).code),
        message: (read as Error).message,
        failure: device.stats().failure,
        events: events.map(({ event }) => event),
      };
    });
    expect(answer).toMatchObject({ transport, calls: ['ENODEV', 'ENODEV'] });
    expect(answer.message).toMatch(/IOThread 'disk' is gone/);
    expect(answer.failure).toMatch(/IOThread/);
    expect(answer.events).toContain('IOTHREAD_FAILED');
  });
}
