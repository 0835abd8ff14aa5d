// Throwing away what an overlay holds: at once or not at all, whatever the power or the disk below do.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { CrashModel } from '../../../testing/crash-model.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import type { SimDiskOptions } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { haveQemu, qemuImg, withTempDir } from '../../../testing/qemu.ts';
import { createQcow2, openQcow2, protocolNode, read } from '../../../testing/qcow2-images.ts';
import type { OpenQcow2 } from '../../../testing/qcow2-images.ts';
import { RandomOps } from '../../../testing/random-disk-ops.ts';
import { BlockError } from '../../block-error.ts';

const KIB = 1024;

interface Shape {
  readonly cluster: number;
  readonly size: number;
  /** Of the backing file. */
  readonly backing: number;
  readonly bits?: number;
  readonly lazy?: boolean;
  readonly compat?: '0.10';
}

const SHAPES: readonly Shape[] = [
  { cluster: 512, size: 200 * KIB, backing: 200 * KIB },
  { cluster: 512, size: 128 * KIB + 512, backing: 64 * KIB, bits: 64 },
  { cluster: 512, size: 96 * KIB, backing: 100 * KIB, lazy: true },
  { cluster: 4 * KIB, size: 512 * KIB, backing: 300 * KIB, bits: 1 },
  { cluster: 64 * KIB, size: 2048 * KIB, backing: 700 * KIB + 512, compat: '0.10' },
];

/** An overlay that was written to at random; all of it flushed and closed. */
async function usedOverlay(
  shape: Shape,
  prng: Prng,
): Promise<{ bytes: Uint8Array; base: Uint8Array; model: Uint8Array }> {
  const made = new SimDisk(new Uint8Array(0));
  await createQcow2(made, shape.size, {
    cluster_size: shape.cluster,
    refcount_bits: shape.bits ?? 16,
    lazy_refcounts: shape.lazy ?? false,
    backing_file: 'base',
    ...(shape.compat === undefined ? {} : { compat: shape.compat }),
  });
  const base = prng.bytes(shape.backing);
  const { node } = await over(made, base);
  const model = withLength(base, shape.size);
  const ops = new RandomOps(prng, model, { clusterSize: shape.cluster, maxBytes: 20 * KIB });
  for (let i = 0; i < 40; i++) await ops.step(node);
  await node.close();
  return { bytes: made.snapshot(), base, model: ops.model };
}

function over(disk: SimDisk, base: Uint8Array): Promise<OpenQcow2> {
  return openQcow2(disk, { backing: protocolNode(new SimDisk(base), true, 'backing') });
}

function withLength(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const resized = new Uint8Array(length);
  resized.set(bytes.subarray(0, length));
  return resized;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** Resets; answers the error's code, '' for none. */
async function reset(node: OpenQcow2['node']): Promise<string> {
  try {
    await node.makeEmpty();
    return '';
  } catch (error) {
    if (error instanceof BlockError) return error.code;
    throw error;
  }
}

/** Opens what is left, which must be whole and without leaks; answers what it reads as. */
async function inspect(bytes: Uint8Array, base: Uint8Array, what: string): Promise<Uint8Array> {
  const { node } = await over(new SimDisk(bytes), base);
  const found = await node.check('none');
  expect(found, what).toMatchObject({ corruptions: 0, checkErrors: 0, leaks: 0 });
  const seen = await read(node, 0, node.length);
  await node.close();
  return seen;
}

describe('a qcow2 overlay that is reset', () => {
  it.each(SHAPES)('shows its backing file, is small, and works on: %o', async (shape) => {
    const prng = new Prng(shape.size);
    const { bytes, base } = await usedOverlay(shape, prng);
    const disk = new SimDisk(bytes);
    const { node, notices } = await over(disk, base);
    const ops = new RandomOps(prng, withLength(base, shape.size), {
      clusterSize: shape.cluster,
      maxBytes: 20 * KIB,
      maxLength: 2 * shape.size,
    });
    for (let round = 0; round < 3; round++) {
      expect(await reset(node)).toBe('');
      await ops.check(node);
      expect(await node.check('none')).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
      expect(disk.length).toBeLessThan(bytes.length / 2);
      for (let i = 0; i < 30; i++) await ops.step(node);
      ops.model = withLength(base, node.length);
    }
    expect(await reset(node)).toBe('');
    await node.close();
    expect(notices).toEqual([]);
    expect(
      same(await inspect(disk.snapshot(), base, 'closed'), withLength(base, ops.model.length)),
    ).toBe(true);
    if (haveQemu()) await compareWithQemu(disk.snapshot(), base, ops.model.length);
  });

  it('is the old one or an empty one after a power cut, with nothing leaked', async () => {
    for (const [i, shape] of SHAPES.entries()) {
      const prng = new Prng(100 + i);
      const { bytes, base, model } = await usedOverlay(shape, prng);
      const empty = withLength(base, shape.size);
      const seen = { old: 0, empty: 0 };
      for (let cutAt = 1; ; cutAt++) {
        const late = prng.chance(40) ? { late: prng } : {};
        const disk = new SimDisk(bytes, { cutAt, cutPrng: prng, ...late });
        const { node } = await over(disk, base);
        const code = await reset(node);
        const wreck = disk.wreck ?? disk.crash(prng);
        const got = await inspect(wreck, base, `shape ${i}, cut ${cutAt}`);
        if (same(got, empty)) seen.empty += 1;
        else if (same(got, model)) seen.old += 1;
        else expect.fail(`shape ${i}, cut ${cutAt}: neither old nor empty`);
        if (disk.wreck !== undefined) continue;
        // It got to its end: that lasts.
        expect(code).toBe('');
        expect(same(got, empty)).toBe(true);
        break;
      }
      expect(Math.min(seen.old, seen.empty), `shape ${i}`).toBeGreaterThan(2);
    }
  });

  it('keeps what is written and flushed afterwards through a power cut', async () => {
    const prng = new Prng(7);
    for (let round = 0; round < 40; round++) {
      const shape = prng.pick(SHAPES);
      const { bytes, base } = await usedOverlay(shape, prng);
      const disk = new SimDisk(bytes, { cutAt: 20 + prng.below(150), cutPrng: prng });
      const { node } = await over(disk, base);
      if ((await reset(node)) !== '') continue;
      const model = new CrashModel(withLength(base, shape.size));
      for (let i = 0; i < 60 && disk.wreck === undefined; i++) {
        const data = prng.bytes(512 * (1 + prng.below(20)));
        const at = prng.below((shape.size - data.length) / 512) * 512;
        model.willWrite(at, data);
        await node.pwritev(at, IOVector.of(data));
        if (prng.chance(30) && (await node.flush()) >= 0) model.flushed();
      }
      const again = await over(new SimDisk(disk.wreck ?? disk.crash(prng)), base);
      const found = await again.node.check('none');
      expect(found, `round ${round}`).toMatchObject({ corruptions: 0, checkErrors: 0 });
      expect(
        model.verdict(await read(again.node, 0, again.node.length)),
        `round ${round}`,
      ).toBeUndefined();
      await again.node.close();
    }
  });

  it('is the old one or an empty one when the disk below fails, and says so', async () => {
    for (const [i, shape] of SHAPES.entries()) {
      const prng = new Prng(200 + i);
      const { bytes, base, model } = await usedOverlay(shape, prng);
      const empty = withLength(base, shape.size);
      for (let at = 1; at < 40; at++) {
        const disk = new FailingDisk(bytes);
        const { node } = await over(disk, base);
        // The same once more: where it was the backing file's, tables are in memory only now.
        await node.pwritev(0, IOVector.of(model.slice()));
        disk.failIn = at;
        const code = await reset(node);
        disk.failIn = 0;
        const now = await read(node, 0, node.length);
        const data = prng.bytes(512);
        const wrote = await node.pwritev(0, IOVector.of(data));
        const what = `shape ${i}, failure ${at}: '${code}', ${wrote}`;
        if (code === '') expect(same(now, empty), what).toBe(true);
        else if (wrote >= 0) expect(same(now, model), what).toBe(true);
        else expect(same(now, model) || same(now, empty), what).toBe(true);
        // What is in memory is not what is on disk: a check of the two would tell of damage, or do some.
        const checked = node.check('all');
        if (wrote >= 0) expect(await checked, what).toMatchObject({ corruptions: 0 });
        else await expect(checked, what).rejects.toMatchObject({ code: 'EIO' });
        await node.close().catch(() => {});
        const got = await inspect(disk.snapshot(), base, `shape ${i}, failure ${at}`);
        const start = got.subarray(0, 512);
        if (wrote >= 0) expect(same(start, data)).toBe(true);
        const tail = got.subarray(512);
        expect(same(tail, empty.subarray(512)) || same(tail, model.subarray(512))).toBe(true);
      }
    }
  });

  it('waits for writes under way, and they are gone', async () => {
    const prng = new Prng(3);
    const { bytes, base } = await usedOverlay(SHAPES[0]!, prng);
    const disk = new SimDisk(bytes, { late: prng });
    const { node } = await over(disk, base);
    const writing = node.pwritev(4096, IOVector.of(prng.bytes(20 * KIB)));
    expect(typeof writing).toBe('object');
    expect(await reset(node)).toBe('');
    expect(await writing).toBe(0);
    expect(same(await read(node, 0, base.length), base)).toBe(true);
    await node.close();
  });

  it('is refused where there is nothing to go back to, and where nothing may be written', async () => {
    const alone = new SimDisk(new Uint8Array(0));
    await createQcow2(alone, 64 * KIB);
    const { node } = await openQcow2(alone);
    await expect(node.makeEmpty()).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringMatching(/no backing image.*createDisk/) as string,
    });
    await node.close();
    const { bytes, base } = await usedOverlay(SHAPES[0]!, new Prng(4));
    const backing = protocolNode(new SimDisk(base), true, 'backing');
    const readOnly = await openQcow2(new SimDisk(bytes), { readOnly: true, backing });
    await expect(readOnly.node.makeEmpty()).rejects.toMatchObject({ code: 'EROFS' });
  });
});

/** Fails the n-th change from now on, once. */
class FailingDisk extends SimDisk {
  failIn = 0;

  constructor(bytes: Uint8Array, options: SimDiskOptions = {}) {
    super(bytes, options);
  }
  #fails(): boolean {
    if (this.failIn === 0) return false;
    this.failIn -= 1;
    return this.failIn === 0;
  }
  override pwritev(offset: number, qiov: IOVector): number | Promise<number> {
    return this.#fails() ? -5 : super.pwritev(offset, qiov);
  }
  override flush(): number | Promise<number> {
    return this.#fails() ? -5 : super.flush();
  }
  override truncate(length: number): Promise<number> {
    return this.#fails() ? Promise.resolve(-28) : super.truncate(length);
  }
}

async function compareWithQemu(image: Uint8Array, base: Uint8Array, size: number): Promise<void> {
  await withTempDir(async (folder) => {
    const path = join(folder, 'i.qcow2');
    const raw = join(folder, 'model.raw');
    writeFileSync(path, image);
    writeFileSync(join(folder, 'base'), base);
    writeFileSync(raw, withLength(base, size));
    const check = qemuImg('check', '-f', 'qcow2', path);
    expect(check.status, check.output).toBe(0);
    // The stored name has no format with it.
    const options = `driver=qcow2,file.filename=${path},backing.driver=raw,backing.file.filename=${join(folder, 'base')}`;
    const model = `driver=raw,file.filename=${raw}`;
    const compare = qemuImg('compare', '--image-opts', options, model);
    expect(compare.status, compare.output).toBe(0);
  });
}
