import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { ENOTSUP, OK } from '../../../base/ret.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { createQcow2, openQcow2, protocolNode, read } from '../../../testing/qcow2-images.ts';
import { REQ_MAY_UNMAP } from '../../block-driver.ts';
import type { BlockNode } from '../../block-node.ts';
import { parseCreateOptions } from './create.ts';
import { driver } from './qcow2.ts';
import { getRefcount, maxRefcount, setRefcount } from './refcount-bits.ts';

const CLUSTER = 65536;
const MIB = 1024 * 1024;

async function created(size: number, options: Record<string, unknown> = {}): Promise<SimDisk> {
  const disk = new SimDisk(new Uint8Array(0));
  await createQcow2(disk, size, options);
  return disk;
}

function base(bytes: number): { node: BlockNode; bytes: Uint8Array } {
  const contents = new Prng(5).bytes(bytes);
  return { node: protocolNode(new SimDisk(contents), true, 'base'), bytes: contents };
}

function page(value: number, bytes = 4096): IOVector {
  return IOVector.of(new Uint8Array(bytes).fill(value));
}

describe('qcow2 refcounts', () => {
  it.each([0, 1, 2, 3, 4, 5, 6])('keep their neighbours, order %i', (order) => {
    const view = new DataView(new ArrayBuffer(64));
    const entries = (64 * 8) / 2 ** order;
    const model = new Array<number>(entries).fill(0);
    const prng = new Prng(order);
    for (let i = 0; i < 500; i++) {
      const index = prng.below(entries);
      const value = prng.pick([0, 1, maxRefcount(order), prng.below(maxRefcount(order))]);
      setRefcount(view, order, index, value);
      model[index] = value;
    }
    expect(model.map((_, i) => getRefcount(view, order, i))).toEqual(model);
  });
});

describe('qcow2 create', () => {
  it('takes the spelling of qemu-img and of blockdev-create', () => {
    const theirs = { cluster_size: '4k', compat: '0.10', backing_file: 'b', backing_fmt: 'raw' };
    const ours = { 'cluster-size': 4096, version: 'v2', 'backing-file': 'b', 'backing-fmt': 'raw' };
    expect(parseCreateOptions(theirs)).toEqual(parseCreateOptions(ours));
    expect(parseCreateOptions({ refcount_bits: '1', lazy_refcounts: 'on' })).toMatchObject({
      refcountOrder: 0, lazyRefcounts: true, version: 3, clusterSize: CLUSTER,
    }); // prettier-ignore
  });

  it.each([
    [{ cluster_size: 3000 }, 'EINVAL', /cluster-size/],
    [{ cluster_size: 256 }, 'EINVAL', /cluster-size/],
    [{ refcount_bits: 12 }, 'EINVAL', /refcount-bits/],
    [{ compat: '0.10', lazy_refcounts: true }, 'EINVAL', /v3/],
    [{ colour: 'red' }, 'EINVAL', /colour/],
    [{ extended_l2: 'on' }, 'ENOTSUP', /extended-l2/],
    [{ preallocation: 'full' }, 'ENOTSUP', /preallocation/],
    [{ compression_type: 'zstd' }, 'ENOTSUP', /zstd/],
  ])('refuses %o', async (options, code, message) => {
    await expect(created(MIB, options)).rejects.toMatchObject({ code });
    await expect(created(MIB, options)).rejects.toThrow(message);
  });

  it('refuses sizes that do not go', async () => {
    await expect(created(1000)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(created(2 ** 40, { cluster_size: 512 })).rejects.toMatchObject({ code: 'EFBIG' });
  });

  it('preallocates metadata', async () => {
    const disk = await created(MIB + 512, { preallocation: 'metadata' });
    const { node } = await openQcow2(disk);
    expect(await node.pwritev(MIB - 512, page(1, 1024))).toBe(OK);
    expect(node.state.counters!()['allocatedClusters']).toBe(0);
    expect((await node.check('none')).messages).toEqual([]);
    await node.close();
  });
});

describe('qcow2 driver', () => {
  it('knows its images and its options', async () => {
    const disk = await created(MIB);
    expect(driver.probe!(disk.snapshot().subarray(0, 512))).toBe(100);
    expect(driver.probe!(new Uint8Array(512))).toBe(0);
    expect(() => driver.parseOptions({ file: 'x', 'l2-cache': 1 })).toThrow(/'l2-cache'/);
    expect(driver.parseOptions({ file: 'x' })).toMatchObject({
      l2CacheSize: 7.5 * MIB, refcountCacheSize: MIB / 2,
    }); // prettier-ignore
  });

  it('reads past a shorter backing file as zeroes', async () => {
    const below = base(CLUSTER + 512);
    const disk = await created(4 * CLUSTER, { backing_file: 'base' });
    const { node } = await openQcow2(disk, { backing: below.node });
    const all = new Uint8Array(4 * CLUSTER);
    all.set(below.bytes);
    expect(Buffer.compare(await read(node, 0, all.length), all)).toBe(0);
    expect(await node.pwritev(CLUSTER + 4096, page(9))).toBe(OK);
    all.fill(9, CLUSTER + 4096, CLUSTER + 8192);
    expect(Buffer.compare(await read(node, 0, all.length), all)).toBe(0);
    await node.close();
  });

  it('follows the backing file of the header only as the caller allows', async () => {
    const disk = await created(MIB, { backing_file: '/etc/passwd' });
    await expect(openQcow2(disk)).rejects.toMatchObject({ code: 'EACCES' });
    const { node } = await openQcow2(disk, { options: { backing: null } });
    expect(node.state.info!()['backing-filename']).toBe('/etc/passwd');
    await node.close();
  });

  it('says where bytes come from', async () => {
    const below = base(2 * CLUSTER);
    const disk = await created(5 * CLUSTER, { backing_file: 'base' });
    const { node } = await openQcow2(disk, { backing: below.node });
    await node.pwritev(CLUSTER, page(1));
    await node.pwriteZeroes(2 * CLUSTER, CLUSTER);
    expect(await node.blockStatus(0, 5 * CLUSTER)).toEqual({
      bytes: CLUSTER, allocated: false, zero: false,
    }); // prettier-ignore
    expect(await node.blockStatus(CLUSTER, CLUSTER)).toMatchObject({
      bytes: CLUSTER, allocated: true, zero: false, fileOffset: expect.any(Number) as number,
    }); // prettier-ignore
    expect(await node.blockStatus(2 * CLUSTER, 3 * CLUSTER)).toEqual({
      bytes: CLUSTER, allocated: true, zero: true,
    }); // prettier-ignore
    expect(await node.blockStatus(3 * CLUSTER, 2 * CLUSTER)).toMatchObject({ zero: true });
    await node.close();
  });

  it('hides the backing file after a discard, where the version can', async () => {
    const below = base(2 * CLUSTER);
    for (const compat of ['0.10', '1.1']) {
      const disk = await created(2 * CLUSTER, { backing_file: 'base', compat });
      const { node, state } = await openQcow2(disk, { backing: below.node });
      await node.pwritev(0, page(1, CLUSTER));
      const v3 = compat === '1.1';
      expect(state.pdiscard!(0, CLUSTER)).toBe(v3 ? OK : -ENOTSUP);
      expect((await read(node, 0, 1))[0]).toBe(v3 ? 0 : 1);
      await node.close();
    }
  });

  it('keeps or frees the host cluster of zeroes, as asked', async () => {
    const disk = await created(4 * CLUSTER);
    const { node } = await openQcow2(disk);
    await node.pwritev(0, page(1, 2 * CLUSTER));
    expect(await node.pwriteZeroes(0, CLUSTER)).toBe(OK);
    expect(await node.pwriteZeroes(CLUSTER, CLUSTER, REQ_MAY_UNMAP)).toBe(OK);
    expect(node.state.counters!()['bytesToFree']).toBe(CLUSTER);
    const before = node.state.counters!()['allocatedClusters'];
    await node.pwritev(512, page(2)); // goes into the cluster that was kept
    expect(node.state.counters!()['allocatedClusters']).toBe(before);
    const got = await read(node, 0, 2 * CLUSTER);
    expect(got[511]).toBe(0);
    expect(got[512]).toBe(2);
    expect(got.subarray(512 + 4096).every((byte) => byte === 0)).toBe(true);
    expect((await node.check('none')).messages).toEqual([]);
    await node.close();
  });

  it('shows neither old data nor the backing file where the disk grew', async () => {
    for (const compat of ['0.10', '1.1']) {
      const below = base(6 * CLUSTER);
      const disk = await created(CLUSTER + 512, { backing_file: 'base', compat });
      const { node } = await openQcow2(disk, { backing: below.node });
      expect(await node.truncate(8 * CLUSTER)).toBe(OK);
      const all = new Uint8Array(8 * CLUSTER);
      all.set(below.bytes.subarray(0, CLUSTER + 512));
      expect(Buffer.compare(await read(node, 0, all.length), all), compat).toBe(0);
      await node.pwritev(2 * CLUSTER, page(7, CLUSTER));
      expect(await node.truncate(2 * CLUSTER + 512)).toBe(OK);
      expect(await node.truncate(3 * CLUSTER)).toBe(OK);
      all.fill(7, 2 * CLUSTER, 2 * CLUSTER + 512);
      expect(Buffer.compare(await read(node, 0, 3 * CLUSTER), all.subarray(0, 3 * CLUSTER))).toBe(
        0,
      );
      expect((await node.check('none')).messages).toEqual([]);
      await node.close();
    }
  });

  it('moves its L1 table and refcount table as they grow', async () => {
    const disk = await created(MIB, { cluster_size: 512, refcount_bits: 64 });
    const { node } = await openQcow2(disk);
    expect(await node.truncate(96 * MIB)).toBe(OK);
    const data = new Prng(3).bytes(3 * MIB);
    expect(await node.pwritev(80 * MIB, IOVector.of(data))).toBe(OK);
    expect(Buffer.compare(await read(node, 80 * MIB, data.length), data)).toBe(0);
    await node.close();
    const view = new DataView(disk.snapshot().buffer);
    expect(view.getUint32(56)).toBeGreaterThan(1);
    const again = await openQcow2(disk);
    expect((await again.node.check('none')).messages).toEqual([]);
    expect(Buffer.compare(await read(again.node, 80 * MIB, data.length), data)).toBe(0);
    await again.node.close();
  });

  it('gives the room at the end of the file back when it closes', async () => {
    const disk = await created(64 * MIB);
    const { node } = await openQcow2(disk);
    await node.pwritev(0, page(1));
    expect(disk.length).toBeGreaterThan(MIB);
    await node.close();
    expect(disk.length).toBe(6 * CLUSTER);
  });
});
