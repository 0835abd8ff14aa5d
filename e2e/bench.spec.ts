// The benchmark as people find it, in the built workbench: every kind of row that needs no guest gives
// figures, a run can be cancelled, the text can be taken along. The rounds are as short as can be: the
// figures mean nothing here, but the counts do.

import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from './fixtures.ts';

test.use({ shareBrowser: true });

const ROWS =
  'null-co/depth-32|opfs-raw/seqwrite-64k|idb/randread-4k|http/randread-64k/0ms|move/opfs-qcow2|iothreads/two-queues-on-two|parse/batch-1$';

test('the benchmark measures every kind of row, and its text can be copied', async ({
  page,
  context,
  images,
  previewURL,
}) => {
  const folder = mkdtempSync(join(tmpdir(), 'diskplane-image-'));
  const path = join(folder, 'zeroes.img');
  const file = openSync(path, 'w');
  ftruncateSync(file, 1024 ** 3);
  closeSync(file);
  try {
    images.setFile('/zeroes.img', { path });
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    const query = new URLSearchParams({ rounds: '1', ms: '1', only: ROWS });
    query.set('image', `${images.url}/zeroes.img`);
    await page.goto(`${previewURL}/bench/bench.html?${query}`);
    await expect(page.locator('main')).toHaveCSS('display', 'grid');
    await page.getByTestId('run').click();
    await expect(page.getByTestId('words')).toHaveText('Done.', { timeout: 120_000 });

    const report = await page.getByTestId('report').innerText();
    expect(report).not.toContain('FAILED');
    for (const name of ROWS.replace('parse', 'wasm-parse').replace('$', '').split('|')) {
      const line = report.split('\n').find((text) => text.startsWith(name));
      expect(line, report).toMatch(
        /^\S+ +[\d ]+(?:\.\d)? +(?:IOPS|ms|ns\/request) +[\d .]+requests /,
      );
    }
    // A round with six requests in flight ends with six that are not counted as answered.
    const [, requests, fetches] = /http.*requests ([\d ]+), .*fetches ([\d ]+)/.exec(report)!;
    expect(Number(fetches)).toBeGreaterThan(0);
    expect(Number(requests)).toBeGreaterThanOrEqual(Number(fetches));
    expect(report).toMatch(/opfs-raw.*promises 0, /);
    expect(report).toMatch(/move.*moves 12, p99Us \d/);

    await page.getByTestId('copy').click();
    await expect(page.getByTestId('words')).toHaveText('Copied.');
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(report);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a benchmark that is cancelled shows what it has', async ({ page, previewURL }) => {
  await page.goto(`${previewURL}/bench/bench.html?rounds=1000&ms=100&only=parse`);
  await page.getByTestId('run').click();
  await expect(page.getByTestId('words')).toContainText('1 of 3');
  await page.getByTestId('cancel').click();
  await expect(page.getByTestId('words')).toHaveText('Cancelled.');
  await expect(page.getByTestId('run')).toBeEnabled();
});
