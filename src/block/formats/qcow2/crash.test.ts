// Power cuts. Whatever the disk under the image keeps of what was not flushed: afterwards the image
// has leaks at most, and everything written before the last answered flush is there.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { CrashModel } from '../../../testing/crash-model.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { createQcow2, openQcow2, protocolNode, read } from '../../../testing/qcow2-images.ts';
import { REQ_MAY_UNMAP } from '../../block-driver.ts';
import type { BlockNode } from '../../block-node.ts';

const KIB = 1024;

interface Shape {
  readonly cluster: number;
  readonly size: number;
  readonly backing: number;
  readonly lazy?: boolean;
  readonly bits?: number;
}

const SHAPES: readonly Shape[] = [
  { cluster: 512, size: 96 * KIB, backing: 0 },
  { cluster: 512, size: 96 * KIB, backing: 64 * KIB, lazy: true },
  { cluster: 512, size: 128 * KIB, backing: 128 * KIB, bits: 64 },
  { cluster: 4 * KIB, size: 256 * KIB, backing: 300 * KIB },
  { cluster: 64 * KIB, size: 1024 * KIB, backing: 700 * KIB + 512 },
  { cluster: 16 * KIB, size: 512 * KIB, backing: 0, lazy: true },
];

/** Runs one history into a power cut. Answers what was wrong afterwards; undefined for nothing. */
async function crashOnce(seed: number, ignoreFlush: boolean): Promise<string | undefined> {
  const prng = new Prng(seed);
  const shape = prng.pick(SHAPES);
  const options = { cluster_size: shape.cluster, refcount_bits: shape.bits ?? 16 };
  const over = shape.backing === 0 ? {} : { backing_file: 'base' };
  const backing = (): BlockNode | undefined =>
    shape.backing === 0 ? undefined : protocolNode(new SimDisk(base), true, 'backing');
  const base = prng.bytes(shape.backing);
  const made = new SimDisk(new Uint8Array(0));
  const lazy = { lazy_refcounts: shape.lazy ?? false };
  await createQcow2(made, shape.size, { ...options, ...over, ...lazy });
  const disk = new SimDisk(made.snapshot(), {
    cutAt: 1 + prng.below(prng.pick([30, 100, 300])),
    cutPrng: prng,
    ignoreFlush,
    ...(prng.chance(40) ? { late: prng } : {}),
  });
  const small = prng.chance(50) ? { 'l2-cache-size': 0, 'refcount-cache-size': 0 } : {};
  const first = new Uint8Array(shape.size);
  first.set(base.subarray(0, shape.size));
  const model = new CrashModel(first);
  const { node } = await openQcow2(disk, { backing: backing(), options: small });
  for (let i = 0; i < 150 && disk.wreck === undefined; i++) {
    await batch(node, model, prng, shape.cluster);
  }
  const wreck = disk.wreck ?? disk.crash(prng);
  const again = await openQcow2(new SimDisk(wreck), { backing: backing() });
  const found = await again.node.check('none');
  if (found.corruptions > 0 || found.checkErrors > 0) return found.messages.join('\n');
  const wrong = model.verdict(await read(again.node, 0, again.node.length));
  if (wrong !== undefined) return wrong;
  const fixed = await again.node.check('leaks');
  if (fixed.leaks > 0) return `${fixed.leaks} leaks could not be repaired`;
  await again.node.close();
  return undefined;
}

/** A few operations at once, on different sectors of the same clusters; or one that runs alone. */
async function batch(
  node: BlockNode,
  model: CrashModel,
  prng: Prng,
  cluster: number,
): Promise<void> {
  if (prng.chance(20)) {
    if ((await node.flush()) >= 0) model.flushed();
    return;
  }
  if (prng.chance(3)) {
    const length = prng.below(256) * 512 + 512;
    model.willResize(length);
    await node.truncate(length);
    return;
  }
  const taken: { from: number; to: number }[] = [];
  const running: Promise<number>[] = [];
  for (let i = 1 + prng.below(4); i > 0; i--) {
    const step = prng.pick([512, 512, cluster]);
    const from = prng.below(Math.ceil(model.now.length / step)) * step;
    const bytes = Math.min(prng.pick([512, 1024, cluster, 3 * cluster]), model.now.length - from);
    if (taken.some((t) => t.from < from + bytes && from < t.to)) continue;
    taken.push({ from, to: from + bytes });
    running.push(Promise.resolve(operation(node, model, prng, from, bytes)));
  }
  await Promise.all(running);
}

function operation(
  node: BlockNode,
  model: CrashModel,
  prng: Prng,
  from: number,
  bytes: number,
): number | Promise<number> {
  const dice = prng.below(100);
  if (dice < 65) {
    const data = prng.bytes(bytes);
    model.willWrite(from, data);
    return node.pwritev(from, IOVector.of(data));
  }
  if (dice < 85) {
    model.willZero(from, bytes);
    return node.pwriteZeroes(from, bytes, dice < 75 ? REQ_MAY_UNMAP : 0);
  }
  model.willDiscard(from, bytes);
  return discard(node, model, from, bytes);
}

async function discard(
  node: BlockNode,
  model: CrashModel,
  from: number,
  bytes: number,
): Promise<number> {
  const ret = await node.pdiscard(from, bytes);
  const got = new Uint8Array(bytes);
  const seen = await node.preadv(from, IOVector.of(got));
  if (seen >= 0) model.observe(from, got);
  return ret;
}

describe('qcow2 after a power cut', () => {
  it('has leaks at most, and all that was flushed', { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= 400; seed++) {
      const wrong = await crashOnce(seed, false);
      expect(wrong, `seed ${seed}`).toBeUndefined();
    }
  });

  it('would be caught if flushes did nothing (canary)', async () => {
    let caught = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const wrong = await crashOnce(seed, true).catch((error: unknown) => String(error));
      if (wrong !== undefined) caught += 1;
    }
    expect(caught).toBeGreaterThan(10);
  });
});
