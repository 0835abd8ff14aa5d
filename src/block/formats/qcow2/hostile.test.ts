// Images that nobody should have made. Opening or reading one works or gives an error that says what
// is wrong; it never hangs, throws out of the data path, or takes memory for what is not there.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { createQcow2, openQcow2, protocolNode } from '../../../testing/qcow2-images.ts';
import type { OpenQcow2 } from '../../../testing/qcow2-images.ts';
import { BlockError } from '../../block-error.ts';

async function image(
  options: Record<string, unknown> = {},
  size = 1024 * 1024,
): Promise<Uint8Array> {
  const disk = new SimDisk(new Uint8Array(0));
  await createQcow2(disk, size, { cluster_size: 4096, ...options });
  const backing =
    'backing_file' in options ? protocolNode(new SimDisk(new Uint8Array(512))) : undefined;
  const { node } = await openQcow2(disk, { backing });
  for (let at = 0; at < size; at += 128 * 1024) {
    await node.pwritev(at, IOVector.of(new Uint8Array(8192).fill(at / 1024 + 1)));
  }
  await node.close();
  return disk.snapshot();
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

type Change = (v: DataView, bytes: Uint8Array) => void;

const REFUSED: readonly [string, RegExp, Change][] = [
  ['another magic', /not a qcow2 image/, (v) => v.setUint32(0, 0x12345678)],
  ['version 4', /version 4/, (v) => v.setUint32(4, 4)],
  ['cluster_bits 8', /cluster_bits is 8/, (v) => v.setUint32(20, 8)],
  ['cluster_bits 22', /cluster_bits is 22/, (v) => v.setUint32(20, 22)],
  ['cluster_bits 2^32-1', /cluster_bits/, (v) => v.setUint32(20, 0xffffffff)],
  ['size 2^63', /size is/, (v) => v.setBigUint64(24, 2n ** 63n)],
  ['size 2^53', /above 2\^53/, (v) => v.setBigUint64(24, 2n ** 53n)],
  ['a size beyond the L1 table', /too few for a disk/, (v) => v.setBigUint64(24, 2n ** 40n)],
  ['an L1 table above 32 MiB', /L1 table has/, (v) => v.setUint32(36, 0x400001)],
  ['an L1 table past the end', /past the end/, (v) => v.setUint32(36, 0x400000)],
  ['an unaligned L1 table', /boundary/, (v) => v.setBigUint64(40, 0x3001n)],
  ['an L1 table at 2^60', /l1_table_offset/, (v) => v.setBigUint64(40, 2n ** 60n)],
  ['an L1 table in the header', /overlaps the header/, (v) => v.setBigUint64(40, 0n)],
  ['a refcount table above 8 MiB', /refcount table has/, (v) => v.setUint32(56, 2049)],
  ['no refcount table', /no refcount table/, (v) => v.setUint32(56, 0)],
  ['a refcount table in the header', /overlaps the header/, (v) => v.setBigUint64(48, 0n)],
  [
    'a refcount table in the L1 table',
    /overlaps the refcount table/,
    (v) => v.setBigUint64(48, v.getBigUint64(40)),
  ],
  ['refcount_order 7', /refcount_order is 7/, (v) => v.setUint32(96, 7)],
  ['header_length 103', /header_length/, (v) => v.setUint32(100, 103)],
  ['header_length 2^31', /header_length/, (v) => v.setUint32(100, 2 ** 31)],
  ['an endless extension', /leaves the cluster/, (v) => v.setUint32(116, 0xffffffff)],
  [
    'a backing name past the first cluster',
    /backing file name/,
    (v) => {
      v.setBigUint64(8, 4000n);
      v.setUint32(16, 1000);
    },
  ],
  [
    'a backing name of 2 GiB',
    /backing file name/,
    (v) => {
      v.setBigUint64(8, 600n);
      v.setUint32(16, 2 ** 31);
    },
  ],
  ['encryption', /encryption/, (v) => v.setUint32(32, 2)],
  ['an external data file', /external data file/, (v) => v.setBigUint64(72, 4n)],
  ['extended L2 entries', /extended L2 entries/, (v) => v.setBigUint64(72, 16n)],
  ['a bit nobody named', /bit 40/, (v) => v.setBigUint64(72, 2n ** 40n)],
  ['an unknown compression type', /compression type 7/, (v) => {
    v.setBigUint64(72, 8n);
    v.setUint8(104, 7);
  }],
  ['snapshots', /internal snapshots/, (v) => v.setUint32(60, 1)],
]; // prettier-ignore

describe('hostile qcow2 images', () => {
  it.each(REFUSED)('are refused: %s', async (_name, message, change) => {
    const bytes = await image();
    change(view(bytes), bytes);
    const error: unknown = await openQcow2(new SimDisk(bytes)).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(BlockError);
    expect((error as BlockError).message).toMatch(message);
    expect(['EINVAL', 'ENOTSUP', 'EFBIG']).toContain((error as BlockError).code);
  });

  it('names an unknown feature from the image', async () => {
    const bytes = await image();
    const v = view(bytes);
    v.setBigUint64(72, 1n << 33n);
    const at = bytes.indexOf('d'.charCodeAt(0), 112); // the first entry, 'dirty bit'
    bytes.set([0, 33, ...new TextEncoder().encode('time travel\0')], at - 2);
    await expect(openQcow2(new SimDisk(bytes))).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining('time travel') as string,
    });
  });

  it('keeps unknown extensions, and clears autoclear bits when opened for writing', async () => {
    const bytes = await image();
    const v = view(bytes);
    // The feature names become something unknown, with its contents.
    expect(v.getUint32(112)).toBe(0x6803f857);
    v.setUint32(112, 0x12345678);
    v.setBigUint64(88, 3n);
    const before = bytes.slice(104, 4096);
    const looked = new SimDisk(bytes);
    await (await openQcow2(looked, { readOnly: true })).node.close();
    expect(Buffer.compare(looked.snapshot(), bytes)).toBe(0);
    const disk = new SimDisk(bytes);
    const { node } = await openQcow2(disk);
    await node.pwritev(0, IOVector.of(new Uint8Array(512)));
    await node.truncate(64 * 1024 * 1024);
    await node.close();
    const after = disk.snapshot();
    expect(view(after).getBigUint64(88)).toBe(0n);
    expect(Buffer.compare(after.subarray(104, 4096), before)).toBe(0);
  });

  it('answers ENOTSUP for a compressed cluster, says so once, and serves the rest', async () => {
    const bytes = await image();
    const v = view(bytes);
    const l2 = Number(v.getBigUint64(Number(v.getBigUint64(40))) & 0x00ff_ffff_ffff_fe00n);
    v.setBigUint64(l2, (1n << 62n) | 0x5000n);
    const { node, notices } = await openQcow2(new SimDisk(bytes));
    const page = IOVector.of(new Uint8Array(512));
    expect(await node.preadv(0, page)).toBe(-95);
    expect(await node.preadv(0, page)).toBe(-95);
    expect(await node.pwritev(0, page)).toBe(-95);
    expect(notices.filter((n) => n.includes('compressed clusters are not'))).toHaveLength(1);
    expect(await node.preadv(4096, page)).toBe(0);
    await node.close();
  });

  it('answers EIO for data past the end of the file, zeroes for a cut-off last cluster', async () => {
    const bytes = await image();
    const v = view(bytes);
    const l2 = Number(v.getBigUint64(Number(v.getBigUint64(40))) & 0x00ff_ffff_ffff_fe00n);
    v.setBigUint64(l2 + 8, (1n << 63n) | (1n << 40n));
    const last = bytes.length - 4096;
    v.setBigUint64(l2 + 16, (1n << 63n) | BigInt(last));
    bytes[last] = 7;
    const { node } = await openQcow2(new SimDisk(bytes.subarray(0, last + 512)), {
      readOnly: true,
    });
    const cluster = new Uint8Array(4096).fill(0xee);
    expect(await node.preadv(4096, IOVector.of(cluster))).toBe(-5);
    expect(await node.preadv(8192, IOVector.of(cluster))).toBe(0);
    expect(cluster[0]).toBe(7);
    expect(cluster.subarray(512).every((byte) => byte === 0)).toBe(true);
    await node.close();
  });

  it('opens a disk of a terabyte for the price of its L1 table', async () => {
    const disk = new SimDisk(new Uint8Array(0));
    await createQcow2(disk, 2 ** 40);
    expect(disk.length).toBeLessThan(1024 * 1024);
    disk.reads = 0;
    const { node } = await openQcow2(disk);
    expect(disk.reads).toBeLessThanOrEqual(4);
    const page = IOVector.of(new Uint8Array(4096).fill(1));
    expect(await node.pwritev(2 ** 40 - 4096, page)).toBe(0);
    await node.close();
    expect(disk.length).toBeLessThan(1024 * 1024);
  });

  it('survives 2000 mutations', { timeout: 120_000 }, async () => {
    const originals = [
      await image({}, 256 * 1024),
      await image({ cluster_size: 512 }, 256 * 1024),
      await image({ cluster_size: 512, refcount_bits: 1, lazy_refcounts: true }, 128 * 1024),
      await image({ compat: '0.10' }, 256 * 1024),
      await image({ backing_file: 'base', backing_fmt: 'raw' }, 256 * 1024),
    ];
    let opened = 0;
    const heap = process.memoryUsage().arrayBuffers;
    for (let seed = 1; seed <= 2000; seed++) {
      const prng = new Prng(seed);
      const bytes = prng.pick(originals).slice();
      mutate(bytes, prng);
      opened += await abuse(bytes, prng, seed);
    }
    expect(opened).toBeGreaterThan(500);
    expect(process.memoryUsage().arrayBuffers - heap).toBeLessThan(512 * 1024 * 1024);
  });
});

/** Changes a few bytes, mostly where tables and the header are. */
function mutate(bytes: Uint8Array, prng: Prng): void {
  const v = view(bytes);
  for (let i = 1 + prng.below(4); i > 0; i--) {
    const end = prng.pick([112, 112, 512, Math.min(64 * 1024, bytes.length), bytes.length]);
    const at = prng.below(end - 8);
    const aligned = at - (at % 8);
    const interesting = [
      0n, 1n, 0xffff_ffff_ffff_ffffn, 1n << 63n, (1n << 63n) | 0x1000n, (1n << 62n) | 0x1234n, 0x200n,
      0x10000n, (1n << 63n) | 1n, BigInt(bytes.length), (1n << 63n) | BigInt(prng.below(600) * 512),
    ]; // prettier-ignore
    if (prng.chance(50)) v.setBigUint64(aligned, prng.pick(interesting));
    else if (prng.chance(50)) bytes[at] = prng.below(256);
    else bytes[at]! ^= 1 << prng.below(8);
  }
}

/** Opens, reads, writes, checks; answers 1 when it opened. Throws on anything but an error. */
async function abuse(bytes: Uint8Array, prng: Prng, seed: number): Promise<number> {
  const backing = protocolNode(new SimDisk(new Uint8Array(64 * 1024)), true, 'base');
  const disk = new SimDisk(bytes);
  let opened: OpenQcow2;
  try {
    opened = await openQcow2(disk, { readOnly: prng.chance(30), backing });
  } catch (error) {
    if (error instanceof BlockError) return 0;
    throw new Error(`seed ${seed}: open threw`, { cause: error });
  }
  const { node } = opened;
  try {
    for (let i = 0; i < 12; i++) {
      const length = Math.min(node.length, 4 * 1024 * 1024);
      if (length < 512) break;
      const at = prng.below(length / 512) * 512;
      const size = Math.min(prng.pick([512, 4096, 65536]), length - at);
      const data = IOVector.of(new Uint8Array(size).fill(i));
      const dice = prng.below(10);
      if (dice < 4) await node.preadv(at, data);
      else if (dice < 7) await node.pwritev(at, data);
      else if (dice < 8) await node.pwriteZeroes(at, size);
      else if (dice < 9) await node.pdiscard(at, size);
      else await node.flush();
    }
    await node.check(prng.pick(['none', 'none', 'leaks', 'all'])).catch(onlyBlockErrors);
    await node.close().catch(onlyBlockErrors);
  } catch (error) {
    throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
  }
  if (node.lastBug !== undefined) throw new Error(`seed ${seed}: ${node.lastBug}`);
  if (disk.length > 64 * 1024 * 1024) throw new Error(`seed ${seed}: file of ${disk.length}`);
  return 1;
}

function onlyBlockErrors(error: unknown): void {
  if (!(error instanceof BlockError)) throw error;
}
