// The embedded guest in the workbench, as it is built: boots without a server's help on both transports,
// counts boots in an overlay in OPFS, keeps what it was told is written even when the browser dies.

import type { BrowserContext, Page } from '@playwright/test';
import { booted, serialText, starts, type } from './embedded-page.ts';
import type { Hooked } from './embedded-page.ts';
import { expect, test } from './fixtures.ts';

async function confirmReset(page: Page): Promise<void> {
  await page.getByTestId('reset').click();
  await page.getByTestId('ask-yes').click();
  await starts(page);
}

async function open(context: BrowserContext, url: string): Promise<Page> {
  const page = context.pages()[0] ?? (await context.newPage());
  await page.goto(url);
  return page;
}

for (const transport of ['zero-copy', 'bounce'] as const) {
  test(`the embedded guest keeps its disk through reloads, shut-down and reset (${transport})`, async ({
    page,
    previewURL,
  }) => {
    // Nothing of it comes from there.
    await page.route('**/guest/**', (route) => route.abort());
    await page.goto(`${previewURL}/?guest=embedded&transport=${transport}`);
    expect(await booted(page)).toBe(1);
    await expect(page.getByTestId('transport')).toHaveAttribute('data-transport', transport);
    await expect(page.getByTestId('status')).toContainText('boot number 1');

    // By hand, in the terminal.
    await page.getByTestId('terminal').click();
    await page.keyboard.type('v');
    await expect.poll(() => serialText(page)).toContain('VERIFY-NOTHING');
    expect(await type(page, 'w')).toContain('WRITE-OK sectors=1024\n');
    expect(await type(page, 'v')).toContain('VERIFY-OK sectors=1024\n');
    const overlay = page.getByTestId('graph').locator('[data-node=overlay]');
    await expect(overlay.locator('[data-figure="write value"]')).toHaveText(/KiB|MiB/);

    await page.reload();
    expect(await booted(page)).toBe(2);
    expect(await type(page, 'v')).toContain('VERIFY-OK sectors=1024\n');

    await page.getByTestId('shutdown').click();
    await page.locator('body[data-state=off]').waitFor();
    await expect(page.getByTestId('off')).toContainText('flushed and closed');
    await page.getByTestId('start').click();
    expect(await booted(page)).toBe(3);

    await page.getByTestId('reset').click();
    await page.getByTestId('ask-no').click();
    await expect(page.getByTestId('ask')).toBeHidden();
    expect(await type(page, 'v')).toContain('VERIFY-OK sectors=1024\n');
    await confirmReset(page);
    expect(await booted(page)).toBe(1);
    expect(await type(page, 'v')).toContain('VERIFY-NOTHING');
  });
}

test('what the embedded guest was told is written survives the death of the browser', async ({
  profile,
  previewURL,
}) => {
  const url = `${previewURL}/?guest=embedded`;
  const page = await open(await profile.launch(), url);
  expect(await booted(page)).toBe(1);
  expect(await type(page, '500w')).toContain('WRITE-OK sectors=500\n');
  await profile.kill();

  const again = await open(await profile.launch(), url);
  expect(await booted(again)).toBe(2);
  expect(await type(again, 'v')).toContain('VERIFY-OK sectors=500\n');
  const check = await again.evaluate(() =>
    (globalThis as unknown as Hooked).diskplane.disk!.check(),
  );
  expect(check).toMatchObject({ corruptions: 0, checkErrors: 0 });
});

test('where no Linux guest was built, the embedded one boots; a second tab is told', async ({
  page,
  context,
  previewURL,
}) => {
  await page.route('**/guest/**', (route) => route.fulfill({ status: 404 }));
  await page.goto(previewURL);
  expect(await booted(page)).toBe(1);
  await expect(page.getByTestId('status')).toContainText('The embedded guest is up');
  await expect(page.getByTestId('log')).toContainText('npm run guest');

  const second = await context.newPage();
  await second.goto(`${previewURL}/?guest=embedded`);
  await second.locator('body[data-state=error]').waitFor();
  await expect(second.getByTestId('problem')).toContainText('The disk is in use');
  await second.close();
  expect(await type(page, 'v')).toContain('VERIFY-NOTHING');
});
