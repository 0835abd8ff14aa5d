// The conformance lists in another engine, in a real dedicated worker: the same cases as in Chromium.

import { CONFORMANCE_SUBJECTS, askConformance, expectConformance } from '../conformance-page.ts';
import { test } from './fixtures.ts';

for (const subject of CONFORMANCE_SUBJECTS) {
  test(`conformance in a worker: ${subject}`, async ({ newTab, images, server }) => {
    const answer = await askConformance(await newTab(), images, server.conformance, subject);
    expectConformance(subject, answer);
  });
}
