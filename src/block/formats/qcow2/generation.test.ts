// Generations: what makes a new one, what it costs, what a power cut leaves of it, and what the real
// qemu-img and qemu-io make of an image that carries one.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { ENOSPC, OK } from '../../../base/ret.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { haveQemu, qemuImg, qemuImgOk, qemuIo, withTempDir } from '../../../testing/qemu.ts';
import {
  createQcow2,
  openQcow2,
  protocolNode,
  read,
  write,
} from '../../../testing/qcow2-images.ts';
import { REQ_MAY_UNMAP } from '../../block-driver.ts';
import type { BlockNode } from '../../block-node.ts';
import { parseHeader } from './header.ts';
import { EXT_GENERATION } from './spec.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const STORED = /^[0-9a-f]{32}$/;

async function made(options: Record<string, unknown> = {}, bytes = MIB): Promise<SimDisk> {
  const disk = new SimDisk(new Uint8Array(0));
  await createQcow2(disk, bytes, options);
  return disk;
}

describe('the generation of a qcow2 image', () => {
  it('stays while nothing is written, over closing and opening too', async () => {
    const disk = await made();
    const { node } = await openQcow2(disk);
    await write(node, 0, new Uint8Array(512).fill(1));
    const generation = await node.generation();
    expect(generation).toMatch(STORED);
    expect(await node.generation()).toBe(generation);
    await read(node, 0, 64 * KIB);
    await node.flush();
    expect((await node.check('none')).corruptions).toBe(0);
    expect(await node.generation()).toBe(generation);
    await node.close();
    const again = await openQcow2(new SimDisk(disk.snapshot()));
    expect(again.state.info!()).toMatchObject({ generation });
    expect((await again.node.check('leaks')).corruptions).toBe(0);
    expect(await again.node.generation()).toBe(generation);
  });

  const changes: readonly [string, (node: BlockNode) => unknown][] = [
    ['a write in place', (node) => write(node, 0, new Uint8Array(512).fill(2))],
    ['a write to new clusters', (node) => write(node, 128 * KIB, new Uint8Array(512).fill(2))],
    ['zeroes', (node) => node.pwriteZeroes(0, 64 * KIB, REQ_MAY_UNMAP)],
    ['a discard', (node) => node.pdiscard(0, 64 * KIB)],
    ['a resize', (node) => node.truncate(2 * MIB)],
    ['a repair', (node) => node.check('all')],
  ];
  it.each(changes)('is another one after %s', async (_what, change) => {
    const disk = await made();
    const { node, state } = await openQcow2(disk);
    await write(node, 0, new Uint8Array(512).fill(1));
    const before = await node.generation();
    await change(node);
    expect(state.info!()).toMatchObject({ generation: undefined });
    const after = await node.generation();
    expect(after).toMatch(STORED);
    expect(after).not.toBe(before);
  });

  it('costs the first change one write and one flush, later ones and unasked ones nothing', async () => {
    const disk = await made();
    const { node } = await openQcow2(disk);
    const page = IOVector.of(new Uint8Array(4096).fill(1));
    const cost = (): number[] => {
      const before = [disk.writes, disk.flushes];
      expect(node.pwritev(0, page)).toBe(OK);
      return [disk.writes - before[0]!, disk.flushes - before[1]!];
    };
    await node.pwritev(0, page);
    expect(cost()).toEqual([1, 0]);
    await node.generation();
    expect(cost()).toEqual([2, 1]);
    expect(cost()).toEqual([1, 0]);
  });

  it('holds changes back that come together, and all of them where it cannot be taken off', async () => {
    const disk = await made();
    const late = new SimDisk(disk.snapshot(), { late: new Prng(5) });
    const { node, state } = await openQcow2(late);
    const generation = await node.generation();
    const writes = late.writes;
    late.failEvery = 1;
    const sectors = [0, 1, 2].map((i) => write(node, i * 512, new Uint8Array(512).fill(i + 1)));
    expect(await Promise.all(sectors)).toEqual([-5, -5, -5]);
    expect(late.writes - writes).toBe(1);
    expect(state.info!()).toMatchObject({ generation });
    late.failEvery = 0;
    expect(await write(node, 0, new Uint8Array(512).fill(9))).toBe(OK);
    expect((await read(node, 0, 512))[0]).toBe(9);
    expect(state.info!()).toMatchObject({ generation: undefined });
  });

  it('says so where it cannot be stored', async () => {
    const disk = await made();
    const { node } = await openQcow2(disk);
    node.children[0]!.node.state.pwritev = (): number => -ENOSPC;
    await expect(node.generation()).rejects.toThrow(/disk: cannot store its generation: ENOSPC/);
  });

  it('covers the backing file', async () => {
    const disk = await made({ backing_file: 'base', backing_fmt: 'raw' });
    const over = async (etag: string): Promise<string> => {
      const base = new SimDisk(new Uint8Array(64 * KIB));
      const backing = protocolNode(Object.assign(base, { generation: async () => etag }), true);
      const { node } = await openQcow2(new SimDisk(disk.snapshot()), { backing });
      return node.generation();
    };
    const { node } = await openQcow2(disk, {
      backing: protocolNode(new SimDisk(new Uint8Array(512)), true),
    });
    await node.generation();
    await node.close();
    const first = await over('one');
    expect(first).toMatch(/^[0-9a-f]{32}\+one$/);
    expect(await over('one')).toBe(first);
    expect(await over('another')).not.toBe(first);
    expect(await over('x'.repeat(60))).toMatch(/^[0-9a-f]{16}$/);
  });

  it('lasts while it is open where the image has no room for it', async () => {
    for (const options of [{ compat: '0.10' }, { cluster_size: 512 }]) {
      const disk = await made(options);
      const { node } = await openQcow2(disk);
      const generation = await node.generation();
      expect(generation).toMatch(/^open-/);
      expect(await node.generation()).toBe(generation);
      await write(node, 0, new Uint8Array(512).fill(1));
      expect(await node.generation()).not.toBe(generation);
      await node.close();
      expect(await (await openQcow2(disk)).node.generation()).not.toBe(generation);
    }
  });

  it('is what the image says, or else what its file is known by, where it is read-only', async () => {
    const disk = await made();
    const known = (): SimDisk & { generation(): Promise<string> } =>
      Object.assign(new SimDisk(disk.snapshot()), { generation: async () => 'etag' });
    expect(await (await openQcow2(known(), { readOnly: true })).node.generation()).toBe('etag');
    const { node } = await openQcow2(disk);
    const generation = await node.generation();
    await node.close();
    expect(await (await openQcow2(known(), { readOnly: true })).node.generation()).toBe(generation);
  });
});

type Verdict = 'another generation' | 'the same contents' | 'other contents';

/** Writes, asks and writes until the power fails; answers what the image that is left says of itself. */
async function cutOnce(seed: number, ignoreFlush: boolean): Promise<Verdict> {
  const prng = new Prng(seed);
  const named = prng.chance(50) ? { backing_file: 'base.img', backing_fmt: 'raw' } : {};
  const empty = await made({ cluster_size: prng.pick([4 * KIB, 64 * KIB]), ...named }, 128 * KIB);
  const late = prng.chance(40) ? { late: prng } : {};
  const disk = new SimDisk(empty.snapshot(), late);
  const backing = (): BlockNode => protocolNode(new SimDisk(new Uint8Array(128 * KIB)), true);
  const { node } = await openQcow2(disk, { backing: backing() });
  // Later writes go in place: they are what a forgotten flush would let pass.
  await write(node, 0, prng.bytes(128 * KIB));
  const asked = new Map<string, Uint8Array>();
  const change = async (most: number): Promise<void> => {
    for (let i = prng.below(most); i > 0; i--) {
      if (prng.chance(10)) await node.flush();
      else await write(node, prng.below(256) * 512, prng.bytes(512));
    }
  };
  for (let rounds = 1 + prng.below(3); rounds > 0; rounds--) {
    await change(12);
    const generation = await node.generation();
    asked.set(generation.split('+')[0]!, await read(node, 0, 128 * KIB));
  }
  disk.ignoreFlush = ignoreFlush;
  disk.cutIn(1 + prng.below(prng.pick([4, 30])), prng);
  await change(20);
  await node.generation().catch(() => '');
  const again = await openQcow2(new SimDisk(disk.wreck ?? disk.crash(prng)), {
    backing: backing(),
  });
  const stored = again.state.info!()['generation'] as string | undefined;
  const known = stored === undefined ? undefined : asked.get(stored);
  if (known === undefined) return 'another generation';
  const now = await read(again.node, 0, 128 * KIB);
  return Buffer.compare(now, known) === 0 ? 'the same contents' : 'other contents';
}

describe('a generation after a power cut', () => {
  it('means the contents that it meant when it was asked for', async () => {
    let same = 0;
    for (let seed = 1; seed <= 120; seed++) {
      const verdict = await cutOnce(seed, false);
      expect(verdict, `seed ${seed}`).not.toBe('other contents');
      if (verdict === 'the same contents') same += 1;
    }
    expect(same).toBeGreaterThan(20);
  });

  it('would be caught if flushes did nothing (canary)', async () => {
    let caught = 0;
    for (let seed = 1; seed <= 60; seed++) {
      if ((await cutOnce(seed, true)) === 'other contents') caught += 1;
    }
    expect(caught).toBeGreaterThan(2);
  });
});

describe.skipIf(!haveQemu())('an image with a generation, to QEMU', () => {
  it('is clean and reads the same; what QEMU opened to write has another one', async () => {
    await withTempDir(async (directory) => {
      for (const backing of [false, true]) {
        const image = join(directory, 'a.qcow2');
        const base = join(directory, 'base.img');
        writeFileSync(base, new Uint8Array(MIB).fill(7));
        const over = backing ? ['-b', 'base.img', '-F', 'raw'] : [];
        qemuImgOk('create', '-q', '-f', 'qcow2', ...over, image, '1M');
        const open = async (): Promise<{ node: BlockNode; disk: SimDisk }> => {
          const disk = new SimDisk(readFileSync(image));
          const options = backing
            ? { backing: protocolNode(new SimDisk(readFileSync(base)), true) }
            : {};
          return { ...(await openQcow2(disk, options)), disk };
        };
        const own = async (node: BlockNode): Promise<string> =>
          (await node.generation()).split('+')[0]!;
        const first = await open();
        await write(first.node, 0, new Uint8Array(512).fill(1));
        const generation = await own(first.node);
        expect(generation).toMatch(STORED);
        await first.node.close();
        writeFileSync(image, first.disk.snapshot());

        expect(qemuImgOk('check', image)).toContain('No errors were found');
        expect(qemuIo(image, 'qcow2', ['read -P 1 0 512']).output).not.toContain('error');
        const info = JSON.parse(qemuImgOk('info', '--output=json', image)) as Record<
          string,
          unknown
        >;
        expect(info['backing-filename']).toBe(backing ? 'base.img' : undefined);

        // QEMU takes off bits that it does not know, and keeps the extension.
        expect(qemuIo(image, 'qcow2', ['write -P 3 0 512']).status).toBe(0);
        const second = await open();
        expect(await own(second.node)).not.toBe(generation);
        expect((await read(second.node, 0, 512))[0]).toBe(3);
        const { extensions } = parseHeader(second.disk.snapshot().subarray(0, 64 * KIB), 'disk');
        expect(extensions.filter((magic) => magic === EXT_GENERATION)).toHaveLength(1);
        await second.node.close();
        writeFileSync(image, second.disk.snapshot());
        expect(qemuImg('check', image).status).toBe(0);
      }
    });
  });

  it('goes through reads by QEMU unchanged', async () => {
    await withTempDir(async (directory) => {
      const image = join(directory, 'a.qcow2');
      const disk = await made();
      const { node } = await openQcow2(disk);
      const generation = await node.generation();
      await node.close();
      writeFileSync(image, disk.snapshot());
      qemuImgOk('check', image);
      qemuImgOk('convert', '-O', 'raw', image, join(directory, 'a.img'));
      expect(await (await openQcow2(new SimDisk(readFileSync(image)))).node.generation()).toBe(
        generation,
      );
    });
  });
});
