// The conformance lists over the drivers that only a browser has, in a real dedicated worker.

import { Prng } from '../src/testing/prng.ts';
import type { ConformanceAnswer } from './conformance-worker.ts';
import { expect, test } from './fixtures.ts';

const SIZE = 2 ** 20 + 512;
const subjects = [
  'memory',
  'opfs',
  'http',
  'blob',
  'idb',
  'qcow2 in OPFS',
  'qcow2 in IndexedDB',
  'qcow2 in OPFS with small clusters over HTTP',
];

for (const subject of subjects) {
  test(`conformance in a worker: ${subject}`, async ({ page, images, sourceURL }) => {
    images.setFile('/zeroes.img', { bytes: new Uint8Array(SIZE) });
    images.setFile('/image.img', { bytes: new Prng(5).bytes(SIZE) });
    await page.goto('blank.html');
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    const answer = await page.evaluate(
      ({ script, question }) =>
        new Promise<ConformanceAnswer>((resolve, reject) => {
          const worker = new Worker(script, { type: 'module' });
          worker.onerror = (event): void => reject(new Error(event.message || 'not loaded'));
          worker.onmessage = ({ data }: MessageEvent<ConformanceAnswer>): void => {
            worker.terminate();
            resolve(data);
          };
          worker.postMessage(question);
        }),
      {
        script: sourceURL('e2e/conformance-worker.ts'),
        question: {
          subject,
          zeroes: `${images.url}/zeroes.img`,
          image: `${images.url}/image.img`,
        },
      },
    );
    expect(answer.failed).toEqual([]);
    expect(answer.passed.length).toBeGreaterThan(subject === 'http' || subject === 'blob' ? 0 : 10);
    // Sync access handles and memory answer at once: no request of theirs took a promise.
    if (subject === 'memory' || subject === 'opfs') {
      expect(answer.answeredSync).toBeGreaterThan(1000);
    }
    console.log(
      `${subject}: ${answer.passed.length} passed, ${answer.skipped.length} not applicable, ` +
        `${answer.answeredSync} answered at once, ${answer.promises} by promise`,
    );
  });
}
