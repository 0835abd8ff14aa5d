// The data path of opfs and file: one host call a request, and what becomes of short transfers, full
// storage and a handle that is gone.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { MemoryRegion } from '../../base/memory-region.ts';
import { EIO, ENOSPC, OK } from '../../base/ret.ts';
import { openContext } from '../../testing/open-context.ts';
import type { TestOpenContext } from '../../testing/open-context.ts';
import { OpfsDouble } from '../../testing/opfs-double.ts';
import { Prng } from '../../testing/prng.ts';
import type { DriverState } from '../block-driver.ts';
import { opfsDriver } from './opfs.ts';

const SEED = 0xf11e;
const M = 1024 * 1024;

interface Opened {
  readonly state: DriverState;
  readonly opfs: OpfsDouble;
  readonly context: TestOpenContext;
}

async function open(size: number): Promise<Opened> {
  const opfs = new OpfsDouble();
  const context = openContext();
  const driver = opfsDriver(opfs);
  const state = await driver.open(context, driver.parseOptions({ path: 'a', create: true, size }));
  opfs.calls.length = 0;
  return { state, opfs, context };
}

describe('file state', () => {
  it('makes one host call a request, straight into shared memory, and no promise', async () => {
    const { state, opfs } = await open(M);
    const region = new MemoryRegion(new Uint8Array(new SharedArrayBuffer(M)));
    const qiov = new IOVector(region, [8192, 4096]);
    let promises = 0;
    for (let i = 0; i < 200; i++) {
      const at = (i % 256) * 4096;
      if (typeof state.pwritev!(at, qiov, 0) !== 'number') promises += 1;
      if (typeof state.preadv(at, qiov, 0) !== 'number') promises += 1;
    }
    if (typeof state.flush!() !== 'number') promises += 1;
    expect(promises).toBe(0);
    expect(opfs.calls).toHaveLength(401);
    expect(region.viewsMade).toBe(1);
    expect(state.counters!()).toMatchObject({
      hostReads: 200,
      hostWrites: 200,
      hostFlushes: 1,
      bytesRead: 200 * 4096,
      bytesWritten: 200 * 4096,
      bytesBounced: 0,
    });
  });

  it('makes one host call of a scattered request, and pieces of 1 MiB of a long one', async () => {
    const { state, opfs } = await open(4 * M);
    const data = new Prng(SEED).bytes(3 * M);
    const memory = new MemoryRegion(data.slice());
    const spread = (from: number, bytes: number): IOVector =>
      new IOVector(memory, [from, 1000, from + 1000, 24, from + 1024, bytes - 1024]);
    expect(state.pwritev!(0, spread(0, 8192), 0)).toBe(OK);
    expect(opfs.calls).toEqual(['write 0 8192']);
    opfs.calls.length = 0;
    expect(state.pwritev!(0, spread(0, 2.5 * M), 0)).toBe(OK);
    expect(opfs.calls).toEqual([`write 0 ${M}`, `write ${M} ${M}`, `write ${2 * M} ${M / 2}`]);
    opfs.calls.length = 0;
    memory.bytes.fill(0);
    expect(state.preadv(0, spread(0, 2.5 * M), 0)).toBe(OK);
    expect(opfs.calls).toHaveLength(3);
    const same = Buffer.compare(memory.bytes.subarray(0, 2.5 * M), data.subarray(0, 2.5 * M));
    expect(same).toBe(0);
    expect(state.counters!()['bytesBounced']).toBe(8192 + 5 * M);
  });

  it('goes on after short reads and writes', async () => {
    const { state, opfs } = await open(M);
    opfs.maxTransfer = 1000;
    const data = new Prng(SEED).bytes(8192);
    expect(state.pwritev!(5, IOVector.of(data.slice()), 0)).toBe(OK);
    const target = new Uint8Array(8192);
    expect(state.preadv(5, IOVector.of(target), 0)).toBe(OK);
    expect(Buffer.compare(target, data)).toBe(0);
    expect(state.counters!()).toMatchObject({ hostReads: 9, hostWrites: 9, shortTransfers: 16 });
  });

  it('reads zeroes past the end of the file, and -EIO where the file ends too early', async () => {
    const { state, opfs } = await open(1000);
    await state.pwritev!(0, IOVector.of(new Uint8Array(1000).fill(5)), 0);
    const target = new Uint8Array(1024).fill(7);
    expect(state.preadv(0, IOVector.of(target), 0)).toBe(OK);
    expect(target.lastIndexOf(5)).toBe(999);
    expect(target.subarray(1000)).toEqual(new Uint8Array(24));
    opfs.files.get('a')!.bytes = new Uint8Array(500);
    expect(state.preadv(0, IOVector.of(target), 0)).toBe(-EIO);
    expect(state.info!()['lastError']).toMatch(/reading 1024 bytes at 0 of 1000 got 500/);
  });

  it.each(['throws', 'short'] as const)('answers -ENOSPC when the quota %s', async (style) => {
    const { state, opfs } = await open(4096);
    opfs.quota = 6000;
    opfs.quotaStyle = style;
    expect(state.pwritev!(4096, IOVector.of(new Uint8Array(4096)), 0)).toBe(-ENOSPC);
    expect(await state.truncate!(10000)).toBe(-ENOSPC);
    opfs.quota = Infinity;
    expect(state.pwritev!(4096, IOVector.of(new Uint8Array(4096)), 0)).toBe(OK);
    expect(state.length).toBe(8192);
  });

  it('grows and shrinks', async () => {
    const { state } = await open(1024);
    await state.pwritev!(0, IOVector.of(new Uint8Array(1024).fill(1)), 0);
    expect(await state.truncate!(512)).toBe(OK);
    expect(await state.truncate!(1024)).toBe(OK);
    expect(state.length).toBe(1024);
    const target = new Uint8Array(1024);
    expect(state.preadv(0, IOVector.of(target), 0)).toBe(OK);
    expect(target.lastIndexOf(1)).toBe(511);
  });

  it('fails for good, and says so once, when the handle is closed under it', async () => {
    const { state, opfs, context } = await open(4096);
    opfs.failures.push({ call: 'write', name: 'InvalidStateError' });
    expect(state.pwritev!(0, IOVector.of(new Uint8Array(512)), 0)).toBe(-EIO);
    const { length } = opfs.calls;
    expect(state.preadv(0, IOVector.of(new Uint8Array(512)), 0)).toBe(-EIO);
    expect(state.flush!()).toBe(-EIO);
    expect(opfs.calls).toHaveLength(length);
    expect(context.notices).toHaveLength(1);
    expect(context.notices[0]).toMatch(/node0: the host closed the file/);
  });

  it('answers -EIO for a failed flush and keeps working', async () => {
    const { state, opfs } = await open(4096);
    opfs.failures.push({ call: 'flush', name: 'UnknownError' });
    expect(state.flush!()).toBe(-EIO);
    expect(state.info!()['lastError']).toContain('UnknownError');
    expect(state.flush!()).toBe(OK);
  });
});
