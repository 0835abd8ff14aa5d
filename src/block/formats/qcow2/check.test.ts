// Broken images, made by hand: `check` here and qemu-img there find the same and repair the same.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { haveQemu, qemuImg, withTempDir } from '../../../testing/qemu.ts';
import { createQcow2, openQcow2, read } from '../../../testing/qcow2-images.ts';
import { INCOMPAT_CORRUPT, INCOMPAT_DIRTY } from './spec.ts';

const CLUSTER = 4096;

/** An image with 64 data clusters, the first of them at the host cluster that is answered. */
async function image(): Promise<{ bytes: Uint8Array; view: DataView; model: Uint8Array }> {
  const disk = new SimDisk(new Uint8Array(0));
  await createQcow2(disk, 1024 * 1024, { cluster_size: CLUSTER });
  const { node } = await openQcow2(disk);
  const model = new Prng(7).bytes(1024 * 1024);
  model.fill(0, 64 * CLUSTER);
  await node.pwritev(0, IOVector.of(model.subarray(0, 64 * CLUSTER)));
  await node.close();
  const bytes = disk.snapshot();
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset), model };
}

/** Where refcount block 0 and L2 table 0 lie. */
function places(view: DataView): { block: number; l1: number; l2: number } {
  const offset = (at: number): number => Number(view.getBigUint64(at) & 0x00ff_ffff_ffff_fe00n);
  return { block: offset(offset(48)), l1: offset(40), l2: offset(offset(40)) };
}

function damage(name: string, view: DataView): void {
  const { block, l1, l2 } = places(view);
  switch (name) {
    case 'leaks':
      // Clusters past the data, and one that is counted twice.
      for (const cluster of [40, 41]) view.setUint16(block + cluster * 2, 3);
      view.setBigUint64(l2 + 60 * 8, 0n);
      view.setBigUint64(l2 + 61 * 8, 0n);
      return;
    case 'refcounts too low':
      for (const cluster of [0, 3, 20, 21, 22]) view.setUint16(block + cluster * 2, 0);
      return;
    case 'a cluster used twice':
      view.setBigUint64(l2 + 9 * 8, view.getBigUint64(l2 + 8 * 8));
      return;
    case 'COPIED flags wrong':
      view.setUint8(l2 + 8, view.getUint8(l2 + 8) & 0x7f);
      view.setUint8(l1, view.getUint8(l1) & 0x7f);
      return;
    case 'a refcount block gone':
      view.setBigUint64(Number(view.getBigUint64(48)), 0n);
      return;
    case 'a refcount block nowhere':
      view.setBigUint64(Number(view.getBigUint64(48)), 0x7_0000_0000n);
  }
}

const DAMAGES = [
  'leaks',
  'refcounts too low',
  'a cluster used twice',
  'COPIED flags wrong',
  'a refcount block gone',
  'a refcount block nowhere',
];

function qemuCheck(
  bytes: Uint8Array,
  directory: string,
  ...args: string[]
): Record<string, number> {
  const path = join(directory, 'i.qcow2');
  writeFileSync(path, bytes);
  const answer = qemuImg('check', '-f', 'qcow2', '--output=json', ...args, path);
  const start = answer.output.indexOf('{');
  return JSON.parse(answer.output.slice(start, answer.output.lastIndexOf('}') + 1)) as Record<
    string,
    number
  >;
}

describe('qcow2 check', () => {
  it.each(DAMAGES)('finds and repairs: %s', async (name) => {
    const { bytes, view, model } = await image();
    damage(name, view);
    const looked = await openQcow2(new SimDisk(bytes), { readOnly: true });
    const found = await looked.node.check('none');
    expect(found.corruptions + found.leaks).toBeGreaterThan(0);
    expect(found.messages.length).toBeGreaterThan(0);
    const disk = new SimDisk(bytes);
    const { node } = await openQcow2(disk);
    if (name === 'leaks') {
      const fixed = await node.check('leaks');
      expect(fixed).toMatchObject({ leaks: 0, corruptions: 0 });
      expect(fixed.leaksFixed).toBe(found.leaks);
    }
    const fixed = await node.check('all');
    expect(fixed, fixed.messages.join('\n')).toMatchObject({ leaks: 0, corruptions: 0 });
    const got = await read(node, 0, model.length);
    if (name === 'leaks') model.fill(0, 60 * CLUSTER, 62 * CLUSTER);
    if (name === 'a cluster used twice') model.copyWithin(9 * CLUSTER, 8 * CLUSTER, 9 * CLUSTER);
    expect(Buffer.compare(got, model)).toBe(0);
    await node.close();
    const after = await openQcow2(new SimDisk(disk.snapshot()), { readOnly: true });
    expect((await after.node.check('none')).messages).toEqual([]);
    if (haveQemu()) {
      await withTempDir(async (directory) => {
        const theirs = qemuCheck(disk.snapshot(), directory);
        expect(theirs['corruptions'] ?? 0).toBe(0);
        expect(theirs['leaks'] ?? 0).toBe(0);
      });
    }
    // It can be written to afterwards, and what is shared is copied first.
    const again = await openQcow2(disk);
    const page = IOVector.of(new Uint8Array(512).fill(5));
    expect(await again.node.pwritev(8 * CLUSTER, page)).toBe(0);
    expect((await read(again.node, 8 * CLUSTER, 1))[0]).toBe(5);
    expect((await read(again.node, 9 * CLUSTER, 1))[0]).toBe(model[9 * CLUSTER]);
    await again.node.close();
  });

  it.skipIf(!haveQemu()).each(['leaks', 'refcounts too low', 'COPIED flags wrong'])(
    'counts what qemu-img counts: %s',
    async (name) => {
      await withTempDir(async (directory) => {
        const { bytes, view } = await image();
        damage(name, view);
        const { node } = await openQcow2(new SimDisk(bytes), { readOnly: true });
        const ours = await node.check('none');
        const theirs = qemuCheck(bytes, directory);
        expect(ours.leaks).toBe(theirs['leaks'] ?? 0);
        expect(ours.corruptions).toBe(theirs['corruptions'] ?? 0);
        expect(ours.imageEndOffset).toBe(theirs['image-end-offset']);
        expect(ours.allocatedClusters).toBe(theirs['allocated-clusters']);
        expect(ours.totalClusters).toBe(theirs['total-clusters']);
      });
    },
  );

  it.skipIf(!haveQemu())('reads and finds good what qemu-img repaired', async () => {
    await withTempDir(async (directory) => {
      const { bytes, view, model } = await image();
      damage('refcounts too low', view);
      qemuCheck(bytes, directory, '-r', 'all');
      const repaired = readFileSync(join(directory, 'i.qcow2'));
      const { node } = await openQcow2(new SimDisk(repaired));
      expect((await node.check('none')).messages).toEqual([]);
      expect(Buffer.compare(await read(node, 0, model.length), model)).toBe(0);
      await node.close();
    });
  });

  it('repairs on open what a crash with lazy refcounts left, and clears the dirty bit', async () => {
    const made = new SimDisk(new Uint8Array(0));
    await createQcow2(made, 1024 * 1024, { cluster_size: CLUSTER, lazy_refcounts: 'on' });
    const disk = new SimDisk(made.snapshot());
    const { node } = await openQcow2(disk);
    const data = new Prng(1).bytes(300_000 - (300_000 % 512));
    await node.pwritev(512, IOVector.of(data));
    await node.flush();
    const crashed = disk.crash(new Prng(2));
    const features = new DataView(crashed.buffer).getBigUint64(72);
    expect(features).toBe(INCOMPAT_DIRTY);
    const looked = await openQcow2(new SimDisk(crashed), { readOnly: true });
    expect((await looked.node.check('none')).corruptions).toBeGreaterThan(0);
    const after = new SimDisk(crashed);
    const again = await openQcow2(after);
    expect(again.notices.join()).toContain('not closed cleanly');
    expect(Buffer.compare(await read(again.node, 512, data.length), data)).toBe(0);
    expect((await again.node.check('none')).messages).toEqual([]);
    await again.node.close();
    const closed = after.snapshot();
    expect(new DataView(closed.buffer).getBigUint64(72)).toBe(0n);
  });

  it('refuses a write into metadata, marks the image corrupt and repairs it on request', async () => {
    const { bytes, view } = await image();
    const { l2, block } = places(view);
    view.setBigUint64(l2 + 5 * 8, (1n << 63n) | BigInt(block)); // data in the refcount block
    const disk = new SimDisk(bytes);
    const { node, notices } = await openQcow2(disk);
    const page = IOVector.of(new Uint8Array(4096).fill(1));
    expect(await node.pwritev(100 * CLUSTER, page)).toBe(0); // has the block in the cache
    expect(await node.pwritev(5 * CLUSTER, page)).toBe(-5);
    expect(notices.join()).toContain('would overlap refcount block');
    expect(await node.pwritev(101 * CLUSTER, page)).toBe(-5);
    expect(await node.flush()).toBe(-5);
    expect((await read(node, 0, 512)).length).toBe(512);
    await node.close().catch(() => undefined);
    const marked = disk.snapshot();
    const features = new DataView(marked.buffer).getBigUint64(72);
    expect(features & INCOMPAT_CORRUPT).toBe(INCOMPAT_CORRUPT);
    await expect(openQcow2(new SimDisk(marked))).rejects.toMatchObject({ code: 'EACCES' });
    const readable = await openQcow2(new SimDisk(marked), { readOnly: true });
    expect((await read(readable.node, 0, 512)).length).toBe(512);
    const repairing = await openQcow2(new SimDisk(marked), { options: { 'for-check': true } });
    expect(await repairing.node.pwritev(0, page)).toBe(-5);
    expect((await repairing.node.check('all')).corruptions).toBe(0);
    await repairing.node.close();
  });
});
