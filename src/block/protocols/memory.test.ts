// The two drivers that need no host: memory, and nothing.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { testContext } from '../../testing/test-context.ts';
import type { BlockNode } from '../block-node.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';

const open = (options: Record<string, unknown>): Promise<BlockNode> =>
  openGraph(new Graph(testContext()), options);
const allocated = (node: BlockNode): unknown => node.state.info!()['allocated'];

describe('memory', () => {
  it('costs what was written, on a disk of a tebibyte', async () => {
    const node = await open({ driver: 'memory', size: '1T' });
    const data = new Uint8Array(10_000).fill(5);
    for (let i = 0; i < 64; i++) expect(node.pwritev(i * 2 ** 34 + 100, IOVector.of(data))).toBe(0);
    expect(allocated(node)).toBe(64 * 3 * 4096);
    let runs = 0;
    for (let at = 0; at < node.length; runs++) {
      const status = await node.blockStatus(at, node.length - at);
      if (typeof status === 'number') throw new Error(String(status));
      at += status.bytes;
    }
    expect(runs).toBe(128);
    expect(node.pdiscard(0, 2 ** 34)).toBe(0);
    expect(allocated(node)).toBe(63 * 3 * 4096);
    // All of the rest: 512 pieces of maxTransfer, by the tables that exist.
    expect(node.pwriteZeroes(0, node.length)).toBe(0);
    expect(allocated(node)).toBe(0);
    const back = new Uint8Array(10_000).fill(1);
    expect(node.preadv(2 ** 34, IOVector.of(back))).toBe(0);
    expect(back.every((byte) => byte === 0)).toBe(true);
  });

  it('uses discarded pages again, cleared', async () => {
    const node = await open({ driver: 'memory', size: 2 ** 20 });
    for (let round = 0; round < 50; round++) {
      expect(node.pwritev(0, IOVector.of(new Uint8Array(2 ** 20).fill(9)))).toBe(0);
      expect(node.pdiscard(0, 2 ** 20)).toBe(0);
      expect(node.pwritev(4096 * round, IOVector.of(Uint8Array.of(1)))).toBe(0);
      const page = new Uint8Array(4096).fill(3);
      expect(node.preadv(4096 * round, IOVector.of(page))).toBe(0);
      expect([page[0], page.subarray(1).every((byte) => byte === 0)]).toEqual([1, true]);
      expect(node.pdiscard(0, 2 ** 20)).toBe(0);
    }
  });
});

describe('null-co', () => {
  it('leaves the buffer as it is, or fills it with zeroes', async () => {
    for (const [zeroes, expected] of [
      [false, 7],
      ['on', 0],
    ] as const) {
      const node = await open({ driver: 'null-co', 'read-zeroes': zeroes });
      expect(node.length).toBe(2 ** 30);
      const buffer = new Uint8Array(512).fill(7);
      expect(node.preadv(0, IOVector.of(buffer))).toBe(0);
      expect(buffer.every((byte) => byte === expected)).toBe(true);
      expect(node.pwritev(0, IOVector.of(buffer))).toBe(0);
    }
  });

  it('takes its latency, all requests at a time, and ends early when cancelled', async () => {
    const context = testContext();
    const node = await openGraph(new Graph(context), {
      driver: 'null-co',
      'latency-ns': '5000000',
    });
    const start = context.now();
    const buffer = IOVector.of(new Uint8Array(512));
    const rets = Array.from({ length: 50 }, async () => node.preadv(0, buffer));
    expect(new Set(await Promise.all(rets))).toEqual(new Set([0]));
    expect(context.now() - start).toBeGreaterThanOrEqual(5e6);
    const slow = await openGraph(new Graph(context), { driver: 'null-co', 'latency-ns': 1e12 });
    const late = slow.preadv(0, buffer);
    slow.cancelInFlight();
    expect(await late).toBe(0);
    expect(context.armedTimers).toBe(0);
    await expect(open({ driver: 'null-co', 'latency-ns': -1 })).rejects.toMatchObject({
      code: 'EINVAL',
    });
  });
});
