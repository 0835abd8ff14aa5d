// A node's latency histograms: off until asked for, then every request, at once or not, by a clock
// that only moves when the test says so.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { EIO } from '../base/ret.ts';
import { ControllableState } from '../testing/controllable.ts';
import { testContext } from '../testing/test-context.ts';
import { BlockNode } from './block-node.ts';
import { Graph } from './graph.ts';
import { nodeStats } from './query-stats.ts';

function setup(): {
  node: BlockNode;
  state: ControllableState;
  graph: Graph;
  looks: () => number;
  wait: (ns: number) => void;
} {
  let clock = 1e9;
  let looks = 0;
  const context = testContext();
  context.now = (): number => {
    looks += 1;
    return clock;
  };
  const state = new ControllableState(64 * 1024);
  const parts = { name: 'n', driver: 'c', kind: 'protocol' as const, children: [] };
  const node = new BlockNode({ ...parts, context, state, readOnly: false });
  const graph = new Graph(context);
  graph.insert(node);
  return { node, state, graph, looks: () => looks, wait: (ns) => (clock += ns) };
}

const sector = (): IOVector => IOVector.of(new Uint8Array(512));
/** Bucket of the one request in it. */
const bucketOf = (counts: readonly number[]): number[] =>
  counts.flatMap((count, bucket) => Array<number>(count).fill(bucket));

describe('latency of a node', () => {
  it('looks at no clock until asked', async () => {
    const { node, state, looks } = setup();
    await node.preadv(0, sector());
    state.mode = 'microtask';
    await node.pwritev(0, sector());
    expect(looks()).toBe(0);
    expect(nodeStats(node).latency).toBeUndefined();
  });

  it('times what is answered at once, what takes a promise, and what fails', async () => {
    const { node, state, graph, wait } = setup();
    graph.setTiming(true);
    const read = state.preadv.bind(state);
    state.preadv = (offset, qiov, flags) => {
      wait(3000);
      return read(offset, qiov, flags);
    };
    expect(node.preadv(0, sector())).toBe(0);

    state.mode = 'held';
    const write = node.pwritev(0, sector());
    const zero = node.pwriteZeroes(0, 512);
    wait(1_000_000);
    state.held[0]!.release(-EIO); // it leaves the list
    state.held[0]!.release();
    await Promise.all([write, zero]);
    const flush = node.flush();
    wait(500);
    state.held[0]!.release();
    await flush;

    const { rd, wr, flush: flushed } = nodeStats(node).latency!;
    expect(bucketOf(rd.counts)).toEqual([2]); // up to 4 µs
    expect(rd.totalNs).toBe(3000);
    expect(bucketOf(wr.counts)).toEqual([10, 10]); // up to 1024 µs
    expect(wr.totalNs).toBe(2_000_000);
    expect(bucketOf(flushed.counts)).toEqual([0]);
    expect(nodeStats(node)).toMatchObject({ readOps: 1, writeOps: 1, errors: 1 });
  });

  it('leaves out what began before, starts anew, and covers nodes to come', async () => {
    const { node, state, graph, wait } = setup();
    state.mode = 'held';
    const early = node.pwritev(0, sector());
    graph.setTiming(true);
    wait(1000);
    state.held[0]!.release();
    await early;
    expect(nodeStats(node).latency).toMatchObject({ wr: { totalNs: 0 } });

    const late = new ControllableState(512);
    const parts = { name: 'm', driver: 'c', kind: 'protocol' as const, children: [] };
    const context = testContext();
    const later = new BlockNode({ ...parts, context, state: late, readOnly: false });
    graph.insert(later);
    await later.preadv(0, sector());
    expect(later.latency!.rd.counts.some((count) => count === 1)).toBe(true);
    graph.setTiming(false);
    expect(later.latency).toBeUndefined();
  });
});
