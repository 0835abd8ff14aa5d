// The workbench as a page: no barriers that axe knows of in any of its states, in light and dark; it goes
// by keyboard alone; nothing on it waits for the guest; it has room on a phone.

import type { Page } from '@playwright/test';
import type { AxeResults } from 'axe-core';
import { createRequire } from 'node:module';
import { booted, serialText } from './embedded-page.ts';
import type { Hooked } from './embedded-page.ts';
import { expect, test } from './fixtures.ts';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** What axe finds in both colour schemes, in a line each. */
async function barriers(page: Page, where: string): Promise<string[]> {
  const found: string[] = [];
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const { violations } = await page.evaluate(() =>
      (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
    );
    for (const { id, nodes } of violations) {
      found.push(`${where}, ${colorScheme}: ${id}: ${nodes.map((node) => node.html).join(' ')}`);
    }
  }
  return found;
}

test('axe finds nothing: off, running, in dialogs, in trouble, light and dark', async ({
  page,
  previewURL,
}) => {
  await page.goto(`${previewURL}/?guest=embedded&autostart=0`);
  await page.addScriptTag({ path: AXE });
  await page.locator('body[data-state=off]').waitFor();
  const found = await barriers(page, 'off');

  await page.getByTestId('start').click();
  await booted(page);
  await expect(page.getByTestId('charts').locator('canvas')).toHaveCount(4);
  found.push(...(await barriers(page, 'running')));
  await page.getByTestId('show-screen').click();
  found.push(...(await barriers(page, 'screen')));

  await page.getByTestId('open-image').click();
  for (const kind of ['file', 'url', 'blank']) {
    await page.locator(`input[name=image-kind][value=${kind}]`).check();
    found.push(...(await barriers(page, `image dialog, ${kind}`)));
  }
  await page.getByTestId('image-cancel').click();
  await page.getByTestId('open-states').click();
  found.push(...(await barriers(page, 'saved states')));
  await page.getByTestId('states-close').click();
  await page.getByTestId('reset').click();
  found.push(...(await barriers(page, 'question')));
  await page.getByTestId('ask-no').click();

  await page.goto(`${previewURL}/?image=opfs:diskplane/images/none.img`);
  await page.addScriptTag({ path: AXE });
  await page.locator('body[data-state=error]').waitFor();
  found.push(...(await barriers(page, 'error')));
  expect(found).toEqual([]);
});

test('everything is reached by keyboard, and nothing on the page waits for the guest', async ({
  page,
  previewURL,
}) => {
  await page.goto(`${previewURL}/?guest=embedded`);
  expect(await booted(page)).toBe(1);

  // Tab goes through all that can be used; the screen and the terminal are the only ones to keep keys.
  const reached = new Set<string>();
  // Keys go to the guest from the start.
  await expect(page.locator('#terminal textarea')).toBeFocused();
  await page.evaluate(() => {
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute('tabindex');
  });
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press('Tab');
    const id = await page.evaluate(() => {
      const focused = document.activeElement!;
      return focused.closest('#terminal') === null ? focused.id || focused.tagName : 'terminal';
    });
    reached.add(id);
    // From the terminal, whose guest wants Tab, one goes on by Shift+Tab or a click; xterm lets go of Esc.
    if (id === 'terminal') await page.locator('#graph').focus();
  }
  for (const id of [
    ...['A', 'setup-what', 'open-image', 'setup-store', 'setup-transport', 'show-serial'],
    ...['show-screen', 'save-state', 'open-states', 'shutdown', 'terminal', 'BUTTON', 'reset'],
    ...['persist', 'download', 'download-raw', 'download-qcow2', 'log-box'],
  ]) {
    expect([...reached]).toContain(id);
  }

  await page.locator('#open-image').focus();
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('image-dialog')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByTestId('image-dialog')).toBeHidden();
  await expect(page.locator('#open-image')).toBeFocused();

  // While the guest writes, each click has done its work by the time it returns.
  await page.evaluate(() =>
    (globalThis as unknown as Hooked).diskplane.machine!.serial.send('4000w'),
  );
  const answers: boolean[] = await page.evaluate(() => {
    const byId = (id: string): HTMLElement => document.getElementById(id)!;
    const click = (id: string): void => byId(id).click();
    const seen: boolean[] = [];
    for (let i = 0; i < 10; i++) {
      click('show-screen');
      seen.push(!byId('screen').hasAttribute('hidden'));
      click('show-serial');
      seen.push(byId('screen').hasAttribute('hidden'));
      click('open-image');
      seen.push((byId('image') as HTMLDialogElement).open);
      click('image-cancel');
      seen.push(!(byId('image') as HTMLDialogElement).open);
      click('open-states');
      seen.push((byId('states') as HTMLDialogElement).open);
      click('states-close');
      seen.push(!(byId('states') as HTMLDialogElement).open);
    }
    return seen;
  });
  expect(answers).toEqual(answers.map(() => true));
  await expect.poll(() => serialText(page), { timeout: 60_000 }).toContain('WRITE-OK');

  for (const width of [390, 900, 1440]) {
    await page.setViewportSize({ width, height: 844 });
    const over = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(over, `${width} pixels wide`).toBe(0);
  }
});
