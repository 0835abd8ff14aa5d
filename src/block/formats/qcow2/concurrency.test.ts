// Requests that overlap in time, over a file whose answers the test holds back.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { EIO, OK } from '../../../base/ret.ts';
import { ControllableState } from '../../../testing/controllable.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { createQcow2, openQcow2, read } from '../../../testing/qcow2-images.ts';
import type { OpenQcow2 } from '../../../testing/qcow2-images.ts';

const CLUSTER = 64 * 1024;

function page(value: number, bytes = 4096): IOVector {
  return IOVector.of(new Uint8Array(bytes).fill(value));
}

async function held(): Promise<{ disk: ControllableState; opened: OpenQcow2 }> {
  const made = new SimDisk(new Uint8Array(0));
  await createQcow2(made, 16 * 1024 * 1024);
  const disk = new ControllableState(made.snapshot());
  const opened = await openQcow2(disk);
  // The L2 table is there, the file has room.
  expect(await opened.node.pwritev(8 * 1024 * 1024, page(9))).toBe(OK);
  await opened.node.flush();
  disk.mode = 'held';
  return { disk, opened };
}

describe('qcow2 with requests in flight', () => {
  it('lets a second write to a cluster being allocated wait, and others go on', async () => {
    const { disk, opened } = await held();
    const { node } = opened;
    const first = node.pwritev(0, page(1));
    const second = node.pwritev(4096, page(2));
    const other = node.pwritev(CLUSTER, page(3));
    await Promise.resolve();
    expect(disk.held.map((call) => call.kind)).toEqual(['pwritev', 'pwritev']);
    await disk.releaseAll();
    expect(await Promise.all([first, second, other])).toEqual([OK, OK, OK]);
    disk.mode = 'sync';
    expect((await read(node, 0, 8192))[0]).toBe(1);
    expect((await read(node, 4096, 4096))[0]).toBe(2);
    expect((await read(node, CLUSTER, 4096))[0]).toBe(3);
    expect(node.state.counters!()['allocatedClusters']).toBe(4);
    await node.close();
  });

  it('shows a reader old contents until the new cluster is linked', async () => {
    const { disk, opened } = await held();
    const writing = opened.node.pwritev(0, page(1));
    expect(await read(opened.node, 0, 4096)).toEqual(new Uint8Array(4096));
    await disk.releaseAll();
    expect(await writing).toBe(OK);
    disk.mode = 'sync';
    expect((await read(opened.node, 0, 4096))[0]).toBe(1);
    await opened.node.close();
  });

  it('frees the clusters of a write that failed, and wakes who waited', async () => {
    const { disk, opened } = await held();
    const { node } = opened;
    const first = node.pwritev(0, page(1));
    const second = node.pwritev(4096, page(2));
    await Promise.resolve();
    disk.held[0]!.release(-EIO);
    await disk.releaseAll();
    expect(await first).toBe(-EIO);
    await disk.releaseAll();
    expect(await second).toBe(OK);
    disk.mode = 'sync';
    expect((await read(node, 0, 8192)).slice(0, 4096)).toEqual(new Uint8Array(4096));
    expect((await read(node, 4096, 4096))[0]).toBe(2);
    const found = await node.check('none');
    expect(found.messages).toEqual([]);
    await node.close();
  });

  it('does not give a discarded cluster to others while a write to it is in flight', async () => {
    const { disk, opened } = await held();
    const { node } = opened;
    disk.mode = 'sync';
    await node.pwritev(0, page(1, CLUSTER));
    await node.flush();
    disk.mode = 'held';
    const late = node.pwritev(0, page(0xbb)); // in place, and held
    await Promise.resolve();
    const slow = disk.held[0]!;
    disk.mode = 'sync';
    expect(await node.pdiscard(0, CLUSTER)).toBe(OK);
    // Flushes would let go of the cluster, were nothing in flight.
    for (let i = 1; i <= 3; i++) {
      expect(await node.pwritev(i * CLUSTER, page(0x10 + i, CLUSTER))).toBe(OK);
      expect(await node.flush()).toBe(OK);
    }
    slow.release();
    expect(await late).toBe(OK);
    for (let i = 1; i <= 3; i++) {
      const got = await read(node, i * CLUSTER, CLUSTER);
      expect(got.every((byte) => byte === 0x10 + i)).toBe(true);
    }
    await node.close();
  });

  it('uses freed clusters again, once they are durably free', async () => {
    const { disk, opened } = await held();
    const { node } = opened;
    disk.mode = 'sync';
    for (let round = 0; round < 200; round++) {
      expect(await node.pwritev(0, page(round, CLUSTER))).toBe(OK);
      expect(await node.pdiscard(0, CLUSTER)).toBe(OK);
      expect(await node.flush()).toBe(OK);
    }
    await node.close();
    expect(disk.bytes.length).toBeLessThan(1024 * 1024);
  });

  it('answers many random requests at once as if they came one by one', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const prng = new Prng(seed);
      const made = new SimDisk(new Uint8Array(0));
      await createQcow2(made, 512 * 1024, { cluster_size: prng.pick([512, 4096, 16384]) });
      const disk = new SimDisk(made.snapshot(), { late: prng });
      const { node } = await openQcow2(disk, { options: { 'l2-cache-size': 0 } });
      const model = new Uint8Array(512 * 1024);
      for (let round = 0; round < 8; round++) {
        // Different sectors, so that the order does not matter; the same clusters.
        const order = Array.from({ length: 64 }, (_, i) => i);
        const running = order.map(async (i) => {
          const at = (i * 16 + prng.below(8)) * 512;
          const bytes = 512 * (1 + prng.below(8));
          const data = prng.bytes(bytes);
          model.set(data, at);
          return node.pwritev(at, IOVector.of(data));
        });
        running.push(Promise.resolve(node.flush()));
        expect(await Promise.all(running), `seed ${seed}`).toEqual(running.map(() => OK));
        const got = await read(node, 0, model.length);
        expect(Buffer.compare(got, model), `seed ${seed}, round ${round}`).toBe(0);
      }
      const found = await node.check('none');
      expect(found.messages, `seed ${seed}`).toEqual([]);
      await node.close();
    }
  });
});
