// The conformance lists over the drivers that only a browser has, in a real dedicated worker.

import { CONFORMANCE_SUBJECTS, askConformance, expectConformance } from './conformance-page.ts';
import { test } from './fixtures.ts';

test.use({ shareBrowser: true });

for (const subject of CONFORMANCE_SUBJECTS) {
  test(`conformance in a worker: ${subject}`, async ({ page, images, sourceURL }) => {
    const script = sourceURL('e2e/conformance-worker.ts');
    const answer = await askConformance(page, images, script, subject);
    expectConformance(subject, answer);
  });
}
