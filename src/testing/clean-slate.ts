// Runs before each test file. Files share a process, and with it every module: loading all of it anew for
// each would take as long as half of the tests. So what a file changes beyond its own variables is put
// back after it: drivers that it registered, globals that it stubbed, methods that it spied on.

import { afterAll, vi } from 'vitest';
import { keepDrivers } from '../block/registry.ts';

const putBack = keepDrivers();
afterAll(() => {
  putBack();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});
