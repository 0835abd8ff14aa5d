// The workbench as people get it, from the build, with the Linux guest: boots, draws graph and charts,
// shuts down. What needs no Linux is proved with the embedded guest, which is up sooner.

import type { Page } from '@playwright/test';
import { createHash } from 'node:crypto';
import type { WorkbenchHooks } from '../src/demo/test-hooks.ts';
import { expect, test } from './fixtures.ts';

interface Hooked {
  diskplane: WorkbenchHooks;
}

const BOOT_MS = 150_000;

/** Collects what the page complains of at its console. */
function complaints(page: Page): string[] {
  const found: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') found.push(message.text());
  });
  return found;
}

async function untilState(page: Page, state: string, timeout: number = BOOT_MS): Promise<void> {
  await page.locator(`body[data-state=${state}], body[data-state=error]`).waitFor({ timeout });
  const problem = await page.getByTestId('problem').innerText();
  expect({ state: await page.locator('body').getAttribute('data-state'), problem }).toEqual({
    state,
    problem: '',
  });
}

/** How often the disk was booted, by the guest's own count. */
async function boots(page: Page): Promise<number> {
  await untilState(page, 'running');
  await page.waitForFunction(
    () => /guest# ?$/.test((globalThis as unknown as Hooked).diskplane.terminalText),
    null,
    { timeout: BOOT_MS },
  );
  const text = await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.terminalText);
  return Number(/GUEST-READY root=\/dev\/vda boots=(\d+)/.exec(text)?.[1]);
}

/** Checksum of what a chart shows. */
async function pixels(page: Page, chart: number): Promise<string> {
  const canvas = page.getByTestId('charts').locator('canvas').nth(chart);
  return createHash('sha256')
    .update(await canvas.screenshot())
    .digest('hex');
}

test('Linux boots in the workbench, which shows its disk at work, and shuts down', async ({
  page,
  guest,
  previewURL,
}) => {
  expect(guest).not.toBe('');
  test.setTimeout(2 * BOOT_MS);
  const errors = complaints(page);
  await page.goto(previewURL);
  // There before anything was fetched.
  await expect(page.getByTestId('terminal')).toBeVisible();
  expect(await boots(page)).toBe(1);
  await expect(page.getByTestId('transport')).toHaveAttribute('data-transport', 'zero-copy');
  await expect(page.getByTestId('status')).toContainText('Linux is up');

  const before = await pixels(page, 0);
  await page.getByTestId('terminal').click();
  await page.keyboard.type('dd if=/dev/zero of=/big bs=1M count=4 conv=fsync; echo EN""D\n');
  await page.waitForFunction(
    () => /\nEND\n/.test((globalThis as unknown as Hooked).diskplane.serialText),
    null,
    { timeout: 60_000 },
  );
  for (const node of ['overlay', 'overlay-file', 'root-image', 'root-image-server']) {
    const box = page.getByTestId('graph').locator(`[data-node=${node}]`);
    await expect(box.locator('[data-figure="read count"]')).not.toHaveText('0');
    await expect(box.locator('[data-figure="read value"]')).not.toHaveText('0 B');
  }
  const overlay = page.getByTestId('graph').locator('[data-node=overlay]');
  await expect(overlay.locator('[data-figure="write value"]')).toHaveText(/MiB$/);
  await expect(overlay.locator('[data-figure="hits value"]')).toHaveText(/%$/);
  await expect(page.getByTestId('charts').locator('canvas')).toHaveCount(4);
  await expect.poll(() => pixels(page, 0)).not.toBe(before);

  await page.getByTestId('shutdown').click();
  await untilState(page, 'off', 60_000);
  await expect(page.getByTestId('off')).toContainText('flushed and closed');
  expect(
    await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.disk === undefined),
  ).toBe(true);

  await expect(page.getByTestId('start')).toBeEnabled();
  expect(errors).toEqual([]);
});
