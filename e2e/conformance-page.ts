// Runs the conformance lists from a page in its worker, and judges what comes back: for every engine.

import { expect } from '@playwright/test';
import { Prng } from '../src/testing/prng.ts';
import type { ConformanceAnswer } from './conformance-worker.ts';
import type { Tab } from './engines/tab.ts';
import type { ImageServer } from './server/image-server.ts';

const SIZE = 2 ** 20 + 512;

/** What the lists run over. */
export const CONFORMANCE_SUBJECTS = [
  'memory',
  'opfs',
  'http',
  'blob',
  'idb',
  'qcow2 in OPFS',
  'qcow2 in IndexedDB',
  'qcow2 in OPFS with small clusters over HTTP',
] as const;

/** `script`: URL of the worker's. */

export async function askConformance(
  tab: Tab,
  images: ImageServer,
  script: string,
  subject: string,
): Promise<ConformanceAnswer> {
  images.setFile('/zeroes.img', { bytes: new Uint8Array(SIZE) });
  images.setFile('/image.img', { bytes: new Prng(5).bytes(SIZE) });
  await tab.goto('blank.html');
  expect(await tab.evaluate(() => crossOriginIsolated, undefined)).toBe(true);
  return tab.evaluate(
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
      script,
      question: {
        subject,
        zeroes: `${images.url}/zeroes.img`,
        image: `${images.url}/image.img`,
      },
    },
  );
}

export function expectConformance(subject: string, answer: ConformanceAnswer): void {
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
}
