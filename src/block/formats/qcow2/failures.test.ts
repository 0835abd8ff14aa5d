// Every k-th operation of the file fails, for all k that matter: requests may fail, but what was
// answered with success is there, and the image has no corruption afterwards.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { createQcow2, openQcow2, protocolNode, read } from '../../../testing/qcow2-images.ts';
import { REQ_MAY_UNMAP } from '../../block-driver.ts';

const SECTOR = 512;
const SIZE = 256 * 1024;

/** Answers how many operations failed. Throws when something is wrong. */
async function failEvery(
  k: number,
  cluster: number,
  late: boolean,
  lazy: boolean,
): Promise<number> {
  const prng = new Prng(k * 1000 + cluster);
  const made = new SimDisk(new Uint8Array(0));
  const options = { cluster_size: cluster, lazy_refcounts: lazy, backing_file: 'base' };
  await createQcow2(made, SIZE, options);
  const base = prng.bytes(100 * 1024);
  const backing = protocolNode(new SimDisk(base), true, 'base');
  const disk = new SimDisk(made.snapshot(), late ? { late: prng } : {});
  const caches = { 'l2-cache-size': 0, 'refcount-cache-size': 0 };
  const { node } = await openQcow2(disk, { backing, options: caches });
  /** By sector: what it may hold. */
  const allowed: Uint8Array[][] = [];
  for (let at = 0; at < SIZE; at += SECTOR) {
    const sector = new Uint8Array(SECTOR);
    sector.set(base.subarray(at, at + SECTOR));
    allowed.push([sector]);
  }
  disk.failEvery = k;
  for (let i = 0; i < 120; i++) {
    const step = prng.pick([SECTOR, cluster]);
    const from = prng.below(SIZE / step) * step;
    const bytes = Math.min(prng.pick([SECTOR, cluster, 3 * cluster]), SIZE - from);
    const dice = prng.below(100);
    const zero = dice >= 60;
    const data = zero ? new Uint8Array(bytes) : prng.bytes(bytes);
    let ret: number;
    if (dice < 60) ret = await node.pwritev(from, IOVector.of(data));
    else if (dice < 80) ret = await node.pwriteZeroes(from, bytes, dice < 70 ? REQ_MAY_UNMAP : 0);
    else if (dice < 90) ret = Math.min(await node.pdiscard(from, bytes), -1);
    else {
      await node.flush();
      continue;
    }
    for (let at = 0; at < bytes; at += SECTOR) {
      const index = (from + at) / SECTOR;
      const value = data.subarray(at, at + SECTOR);
      allowed[index] = ret >= 0 ? [value] : [...allowed[index]!, value];
    }
  }
  disk.failEvery = 0;
  const verify = async (bytes: Uint8Array, when: string): Promise<void> => {
    allowed.forEach((values, index) => {
      const got = bytes.subarray(index * SECTOR, (index + 1) * SECTOR);
      if (!values.some((value) => Buffer.compare(value, got) === 0)) {
        throw new Error(`every ${k}th fails: sector ${index} is wrong ${when}`);
      }
    });
  };
  await verify(await read(node, 0, SIZE), 'at once');
  await node.close();
  const again = await openQcow2(new SimDisk(disk.snapshot()), { backing });
  const found = await again.node.check('none');
  if (found.corruptions + found.checkErrors > 0) throw new Error(found.messages.join('\n'));
  await verify(await read(again.node, 0, SIZE), 'after reopening');
  await again.node.close();
  return disk.failures;
}

describe('qcow2 over a failing file', () => {
  it.each([
    [512, false, false],
    [4096, false, false],
    [65536, false, false],
    [512, true, false],
    [4096, true, true],
    [16384, false, true],
  ])('clusters of %i, late %s, lazy refcounts %s', async (cluster, late, lazy) => {
    let failures = 0;
    for (const k of [2, 3, 4, 5, 7, 11, 17, 29, 50, 97]) {
      failures += await failEvery(k, cluster, late, lazy);
    }
    expect(failures).toBeGreaterThan(200);
  });
});
