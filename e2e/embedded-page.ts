// What end-to-end tests do with the embedded guest on the workbench page: it is up in a second or two,
// needs no server, and says what it does in words that do not change.

import type { Page } from '@playwright/test';
import type { WorkbenchHooks } from '../src/demo/test-hooks.ts';
import { expect } from './fixtures.ts';

/** The page's global object. */
export interface Hooked {
  diskplane: WorkbenchHooks;
}

/** A busy machine makes more of a second. */
export const EMBEDDED_BOOT_MS = 60_000;

/** Waits for the guest's prompt; answers how often its disk was booted. */
export async function booted(page: Page): Promise<number> {
  const ended = page.locator('body[data-state=running], body[data-state=error]');
  await ended.waitFor({ timeout: EMBEDDED_BOOT_MS });
  expect(await page.getByTestId('problem').innerText()).toBe('');
  return Number(/EMBEDDED-READY boots=(\d+)\n/.exec(await serialText(page))?.[1]);
}

export function serialText(page: Page): Promise<string> {
  return page.evaluate(() => (globalThis as unknown as Hooked).diskplane.serialText);
}

/** Types a command; answers what the guest says to it. */
export function type(page: Page, keys: string): Promise<string> {
  return page.evaluate(async (keys) => {
    const { serial } = (globalThis as unknown as Hooked).diskplane.machine!;
    const from = serial.position;
    serial.send(keys);
    const signal = AbortSignal.timeout(60_000);
    return (await serial.waitFor(/[^]*\nguest# $/, { from, signal }))[0];
  }, keys);
}

/** Waits until the old machine is gone, whose words must not be taken for the new one's. */
export async function starts(page: Page): Promise<void> {
  await page.locator('body[data-state=loading], body[data-state=booting]').waitFor();
}
