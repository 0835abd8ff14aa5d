// Where the workbench keeps what is written, and how one gets it out, with the embedded guest: stores,
// saved states, flat images, the map of the overlay.

import type { Page } from '@playwright/test';
import { readFileSync } from 'node:fs';
import { booted, starts, type } from './embedded-page.ts';
import type { Hooked } from './embedded-page.ts';
import { expect, test } from './fixtures.ts';
import { needTools, qemuCheck } from './guest-page.ts';

/** Presses a download button and answers the file's bytes. */
async function download(page: Page, button: string): Promise<{ path: string; bytes: Buffer }> {
  const [file] = await Promise.all([
    page.waitForEvent('download', { timeout: 60_000 }),
    page.getByTestId(button).click(),
  ]);
  const path = await file.path();
  return { path, bytes: readFileSync(path) };
}

/** Saves by download events, not by the browser's own dialog. */
async function withoutPicker(page: Page): Promise<void> {
  await page.evaluate(() => Reflect.deleteProperty(globalThis, 'showSaveFilePicker'));
}

test('writes go to IndexedDB or memory where that is chosen; links say so', async ({
  page,
  previewURL,
}) => {
  await page.goto(`${previewURL}/?guest=embedded`);
  expect(await booted(page)).toBe(1);

  // While a machine runs, a choice waits for the button.
  await page.getByTestId('setup-store').selectOption('idb');
  expect(page.url()).not.toContain('store=');
  await page.getByTestId('setup-apply').click();
  await starts(page);
  expect(await booted(page)).toBe(1);
  expect(page.url()).toContain('store=idb');
  await expect(page.getByTestId('graph').locator('[data-node=overlay-file]')).toContainText('idb');
  expect(await type(page, '64w')).toContain('WRITE-OK sectors=64\n');
  await page.reload();
  expect(await booted(page)).toBe(2);
  expect(await type(page, 'v')).toContain('VERIFY-OK sectors=64\n');
  await page.getByTestId('reset').click();
  await page.getByTestId('ask-yes').click();
  await starts(page);
  expect(await booted(page)).toBe(1);

  await page.getByTestId('setup-store').selectOption('memory');
  await expect(page.locator('#setup-hint')).toContainText('gone when this page closes');
  await page.getByTestId('setup-apply').click();
  await starts(page);
  expect(await booted(page)).toBe(1);
  await page.getByTestId('shutdown').click();
  await page.locator('body[data-state=off]').waitFor();
  await page.getByTestId('start').click();
  await starts(page);
  expect(await booted(page)).toBe(2);
  await page.reload();
  expect(await booted(page)).toBe(1);

  // Back is back to what ran before.
  await page.goBack();
  await expect.poll(() => page.url()).toContain('store=idb');
  await starts(page);
  expect(await booted(page)).toBe(2);
});

test('the map fills while the guest writes; the disk comes out flat', async ({
  page,
  previewURL,
}) => {
  await page.goto(`${previewURL}/?guest=embedded`);
  expect(await booted(page)).toBe(1);
  await page.getByTestId('map').scrollIntoViewIfNeeded();
  await expect(page.getByTestId('map-words')).toContainText('64.0 KiB of 4.00 MiB');
  expect(await type(page, 'w')).toContain('WRITE-OK sectors=1024\n');
  await expect(page.getByTestId('map-words')).toContainText('576 KiB of 4.00 MiB');
  await expect(page.getByTestId('map')).toHaveAttribute('aria-label', /576 KiB of 4\.00 MiB/);
  await expect(page.getByTestId('storage')).toContainText('used of the');

  await withoutPicker(page);
  const raw = await download(page, 'download-raw');
  expect(raw.bytes.length).toBe(4 * 1024 * 1024);
  // The backing image is in it, and so is what the guest wrote, as the guest reads it.
  expect(raw.bytes.subarray(510, 512).toString('hex')).toBe('55aa');
  const pattern = await page.evaluate(async () => {
    const bytes = new Uint8Array(512);
    await (globalThis as unknown as Hooked).diskplane.disk!.read(2048 * 512, bytes);
    return [...bytes];
  });
  expect([...raw.bytes.subarray(2048 * 512, 2049 * 512)]).toEqual(pattern);
  await page.getByTestId('shutdown').click();
  await page.locator('body[data-state=off]').waitFor();
  const overlay = await download(page, 'download');
  expect(overlay.bytes.subarray(0, 4).toString('latin1')).toBe('QFI\xfb');
  const qcow2 = await download(page, 'download-qcow2');
  expect(qcow2.bytes.subarray(0, 4).toString('latin1')).toBe('QFI\xfb');
  needTools();
  expect(qemuCheck(qcow2.path)).toEqual({ corruptions: 0, leaks: 0, errors: 0 });
});

test('a saved state goes on where it was, with the disk that it remembers and no other', async ({
  page,
  previewURL,
}) => {
  await page.goto(`${previewURL}/?guest=embedded`);
  expect(await booted(page)).toBe(1);
  expect(await type(page, '64w')).toContain('WRITE-OK sectors=64\n');
  await page.getByTestId('save-state').click();
  await expect(page.getByTestId('log')).toContainText('Saved the state of Embedded guest');

  // Nothing was written since: it goes on, and knows its pattern.
  await goBack(page);
  await expect(page.getByTestId('status')).toContainText('goes on from its saved state');
  await expect(page.getByTestId('terminal')).toContainText('WRITE-OK sectors=64');
  expect(await type(page, 'v')).toContain('VERIFY-OK sectors=64\n');
  await type(page, '32w');
  await page.getByTestId('shutdown').click();
  await page.locator('body[data-state=off]').waitFor();

  // Now something was: the state is refused, and the disk of that time comes with it.
  await goBack(page);
  await page.locator('body[data-state=error]').waitFor();
  await expect(page.getByTestId('problem')).toContainText('not what the saved state remembers');
  await page.getByTestId('way-start').click();
  await starts(page);
  expect(await booted(page)).toBe(2);
  expect(await type(page, 'v')).toContain('VERIFY-OK sectors=32\n');

  await goBack(page);
  await page.getByTestId('way-restore-disk').click();
  await starts(page);
  await expect(page.getByTestId('status')).toContainText('goes on from its saved state');
  expect(await type(page, 'v')).toContain('VERIFY-OK sectors=64\n');

  // A state is a file as well, on another visit too; what is none is refused.
  await withoutPicker(page);
  await page.getByTestId('open-states').click();
  const { bytes } = await download(page, 'state-download');
  await page.getByTestId('state-delete').click();
  await page.getByTestId('ask-yes').click();
  await expect(page.getByTestId('states-dialog')).toContainText('None yet');
  const input = page.getByTestId('states-file');
  await input.setInputFiles({ name: 'a.state', mimeType: '', buffer: bytes.subarray(1) });
  await expect(page.getByTestId('states-dialog')).toContainText('not a saved state');
  await input.setInputFiles({ name: 'b.state', mimeType: '', buffer: bytes });
  await page.getByTestId('ask-yes').click();
  await starts(page);
  await expect(page.getByTestId('status')).toContainText('goes on from its saved state');
  expect(await type(page, 'v')).toContain('VERIFY-OK sectors=64\n');
});

/** To the one saved state there is; says yes where a machine runs. */
async function goBack(page: Page): Promise<void> {
  const running = (await page.locator('body').getAttribute('data-state')) === 'running';
  await page.getByTestId('open-states').click();
  await page.getByTestId('state-restore').click();
  if (running) await page.getByTestId('ask-yes').click();
  await starts(page);
}
