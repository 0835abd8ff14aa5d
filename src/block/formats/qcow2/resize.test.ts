// Resizing where something goes wrong in the midst of it. Found by the simulation (src/sim).

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { OK } from '../../../base/ret.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { createQcow2, openQcow2, read } from '../../../testing/qcow2-images.ts';
import type { OpenQcow2 } from '../../../testing/qcow2-images.ts';

const CLUSTER = 512;
const LONG = 64 * CLUSTER;
const SHORT = 8 * CLUSTER;

/** A disk of `LONG` bytes with data in each cluster, flushed. */
async function full(): Promise<{ disk: SimDisk; opened: OpenQcow2 }> {
  const made = new SimDisk(new Uint8Array(0));
  await createQcow2(made, LONG, { cluster_size: CLUSTER });
  const disk = new SimDisk(made.snapshot());
  const opened = await openQcow2(disk);
  expect(await opened.node.pwritev(0, IOVector.of(new Uint8Array(LONG).fill(7)))).toBe(OK);
  expect(await opened.node.flush()).toBe(OK);
  return { disk, opened };
}

describe('resize of qcow2', () => {
  it('grows by zeroes after a power cut amidst shrinking', async () => {
    let short = 0;
    for (let cutAt = 1; cutAt < 12; cutAt++) {
      const { disk, opened } = await full();
      disk.cutIn(cutAt, new Prng(cutAt));
      await opened.node.truncate(SHORT);
      const again = await openQcow2(new SimDisk(disk.wreck ?? disk.crash(new Prng(cutAt))));
      if (again.node.length === SHORT) {
        short += 1;
        expect(await again.node.truncate(LONG)).toBe(OK);
        const grown = await read(again.node, SHORT, LONG - SHORT);
        expect(
          grown.every((byte) => byte === 0),
          `cut at ${cutAt}`,
        ).toBe(true);
      }
      await again.node.close();
    }
    expect(short).toBeGreaterThan(1);
  });

  it.each([SHORT, 4 * LONG])('has, when it fails, the old size on disk too (to %i)', async (to) => {
    let failures = 0;
    for (let k = 1; k < 12; k++) {
      const { disk, opened } = await full();
      disk.failEvery = k;
      const ret = await opened.node.truncate(to);
      disk.failEvery = 0;
      if (ret < 0) failures += 1;
      const { length } = opened.node;
      // A disk that takes no more changes cannot say what will be there.
      const frozen = opened.node.state.info!()['corrupt'] === true;
      if (!frozen) {
        expect(await opened.node.flush()).toBe(OK);
        const again = await openQcow2(new SimDisk(disk.crash(new Prng(k))));
        expect(again.node.length, `every ${k}th fails`).toBe(length);
        await again.node.close();
      }
      await opened.node.close().catch(() => {});
    }
    expect(failures).toBeGreaterThan(1);
  });
});
