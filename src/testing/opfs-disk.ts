// Disks of the opfs driver over a double of the browser, for its tests.

import { expect } from 'vitest';
import type { DriverState } from '../block/block-driver.ts';
import { opfsDriver } from '../block/protocols/opfs.ts';
import { fastContext } from './fast-context.ts';
import { openContext } from './open-context.ts';
import type { OpfsDouble } from './opfs-double.ts';

/** Opens a disk of the opfs driver over `opfs`; time runs twenty times as fast. */
export async function open(
  opfs: OpfsDouble,
  raw: Record<string, unknown>,
  context: Parameters<typeof openContext>[0] = {},
): Promise<DriverState> {
  const driver = opfsDriver(opfs);
  return driver.open(
    openContext({ aioContext: fastContext(20), ...context }),
    driver.parseOptions(raw),
  );
}

/** A disk that is made where it is missing. */
export const fresh = { path: 'disks/a.img', create: true, size: '64K' };

/** Nothing is held any more. */
export function expectReleased(opfs: OpfsDouble): void {
  expect(opfs.openHandles).toBe(0);
  expect(opfs.lockManager?.held ?? []).toEqual([]);
}
