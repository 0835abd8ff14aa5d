// A test context whose clock runs fast, so that back-offs and time limits of seconds pass in
// milliseconds, in their right order and proportion.

import { testContext } from './test-context.ts';
import type { TestContext } from './test-context.ts';

/** `factor` nanoseconds pass in each. */
export function fastContext(factor: number): TestContext {
  return testContext(1, factor);
}
