// What the warm paths may cost, as counts: calls of the child, promises, memory.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { MemoryRegion } from '../../../base/memory-region.ts';
import { OK } from '../../../base/ret.ts';
import type { Ret } from '../../../base/ret.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { createQcow2, openQcow2, protocolNode } from '../../../testing/qcow2-images.ts';
import { ANY_RANGE } from '../../block-driver.ts';
import type { BlockLimits, DriverState } from '../../block-driver.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Holds an image for its tables; in `idle` mode it counts requests and moves no bytes. */
class CountingDisk implements DriverState {
  readonly limits: BlockLimits = ANY_RANGE;
  idle = false;
  reads = 0;
  writes = 0;
  flushes = 0;
  lastQiov: IOVector | undefined;
  readonly #disk = new SimDisk(new Uint8Array(0));

  get length(): number {
    return this.#disk.length;
  }
  preadv(offset: number, qiov: IOVector): Ret {
    this.reads += 1;
    this.lastQiov = qiov;
    return this.idle ? OK : (this.#disk.preadv(offset, qiov) as Ret);
  }
  pwritev(offset: number, qiov: IOVector): Ret {
    this.writes += 1;
    this.lastQiov = qiov;
    return this.idle ? OK : (this.#disk.pwritev(offset, qiov) as Ret);
  }
  flush(): Ret {
    this.flushes += 1;
    return OK;
  }
  truncate(length: number): Promise<Ret> {
    return this.#disk.truncate(length);
  }
  async close(): Promise<void> {}
}

async function filled(): Promise<{
  disk: CountingDisk;
  node: Awaited<ReturnType<typeof openQcow2>>['node'];
}> {
  const disk = new CountingDisk();
  await createQcow2(disk, 64 * MIB);
  const { node } = await openQcow2(disk);
  const chunk = IOVector.of(new Uint8Array(MIB).fill(1));
  for (let at = 0; at < 32 * MIB; at += MIB) {
    expect(await node.pwritev(at, chunk)).toBe(OK);
  }
  await node.flush();
  return { disk, node };
}

describe('qcow2 warm paths', () => {
  it('hands reads and overwrites down with the very same vector, one call each', async () => {
    const { disk, node } = await filled();
    const guest = new MemoryRegion(new Uint8Array(MIB));
    const pages = new IOVector(guest, [0, 4096, 65536, 8192]);
    disk.reads = 0;
    expect(node.preadv(5 * MIB + 60 * KIB, pages)).toBe(OK);
    expect(disk.reads).toBe(1);
    expect(disk.lastQiov).toBe(pages);
    // Clusters that follow each other on the host are one run.
    const long = new IOVector(guest, [0, MIB]);
    expect(node.preadv(7 * MIB - 4096, long)).toBe(OK);
    expect(disk.reads).toBe(2);
    expect(disk.lastQiov).toBe(long);
    disk.writes = 0;
    expect(node.pwritev(9 * MIB + 512, pages)).toBe(OK);
    expect(disk.writes).toBe(1);
    expect(disk.lastQiov).toBe(pages);
    await node.close();
  });

  it('makes no promise, no table miss and no garbage', async () => {
    const { disk, node } = await filled();
    disk.idle = true;
    const page = new IOVector(new MemoryRegion(new Uint8Array(4096)), [0, 4096]);
    const rounds = 100_000;
    let promises = 0;
    const run = (): void => {
      let at = 4096;
      for (let i = 0; i < rounds; i++) {
        at = (at * 5 + 4096 * 13) % (32 * MIB - 4096);
        at -= at % 4096;
        if (typeof node.preadv(at, page) !== 'number') promises += 1;
        if (typeof node.pwritev(at, page) !== 'number') promises += 1;
      }
    };
    run();
    const misses = node.state.counters!()['l2Misses'];
    disk.reads = 0;
    disk.writes = 0;
    let least = Infinity;
    for (let i = 0; i < 3; i++) {
      const before = process.memoryUsage().heapUsed;
      run();
      least = Math.min(least, process.memoryUsage().heapUsed - before);
    }
    expect(promises).toBe(0);
    expect(disk.reads).toBe(3 * rounds);
    expect(disk.writes).toBe(3 * rounds);
    expect(node.state.counters!()['l2Misses']).toBe(misses);
    expect(least / (2 * rounds)).toBeLessThan(1); // bytes a request
    disk.idle = false;
    await node.close();
  });

  it('writes a page into a new cluster without writing the rest of it', async () => {
    const disk = new CountingDisk();
    await createQcow2(disk, 64 * MIB);
    const { node } = await openQcow2(disk);
    const page = IOVector.of(new Uint8Array(4096).fill(3));
    await node.pwritev(0, page); // grows the file, makes the L2 table
    disk.writes = 0;
    expect(node.pwritev(MIB + 8192, page)).toBe(OK);
    expect(disk.writes).toBe(1);
    expect(disk.lastQiov).toBe(page);
    await node.close();
  });

  it('copies on write with one read a side and one write', async () => {
    const disk = new CountingDisk();
    await createQcow2(disk, 64 * MIB, { backing_file: 'base' });
    const below = new CountingDisk();
    await below.truncate(64 * MIB);
    const backing = protocolNode(below, true, 'base');
    const { node } = await openQcow2(disk, { backing });
    const page = IOVector.of(new Uint8Array(4096).fill(3));
    await node.pwritev(0, page);
    disk.writes = 0;
    below.reads = 0;
    expect(node.pwritev(MIB + 8192, page)).toBe(OK);
    expect(below.reads).toBe(2);
    expect(disk.writes).toBe(1);
    expect(disk.lastQiov?.size).toBe(64 * KIB);
    expect(node.state.counters!()['cowBytes']).toBe(2 * (64 * KIB - 4096));
    await node.close();
  });

  it('flushes twice where tables changed, not at all where they did not', async () => {
    const { disk, node } = await filled();
    const page = IOVector.of(new Uint8Array(4096).fill(3));
    await node.pwritev(40 * MIB, page);
    await node.flush();
    disk.flushes = 0;
    expect(node.pwritev(41 * MIB, page)).toBe(OK);
    expect(node.flush()).toBe(OK);
    expect(disk.flushes).toBe(2); // before the L2 table, and at the end
    disk.flushes = 0;
    expect(node.pwritev(41 * MIB, page)).toBe(OK);
    expect(node.flush()).toBe(OK);
    expect(disk.flushes).toBe(1); // the file's own
    await node.close();
  });

  it('keeps its tables within the budget', async () => {
    const disk = new CountingDisk();
    await createQcow2(disk, 16 * MIB, { cluster_size: 512 });
    const { node } = await openQcow2(disk, { options: { 'l2-cache-size': 8192 } });
    const page = IOVector.of(new Uint8Array(512).fill(3));
    for (let at = 0; at < 16 * MIB; at += 128 * KIB) expect(await node.pwritev(at, page)).toBe(OK);
    const { l2Misses, l2Evictions } = node.state.counters!();
    expect(l2Misses).toBeGreaterThanOrEqual(128);
    expect(l2Misses! - l2Evictions!).toBeLessThanOrEqual(8192 / 512);
    await node.close();
  });
});
