// Overlaps, flushes, resizing and drain: what happens between requests.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { EIO } from '../base/ret.ts';
import type { MaybeRet } from '../base/ret.ts';
import type { ControllableOptions } from '../testing/controllable.ts';
import { ControllableState } from '../testing/controllable.ts';
import { testContext } from '../testing/test-context.ts';
import { BlockBackend } from './block-backend.ts';
import { BlockChild } from './block-child.ts';
import { REQ_FUA } from './block-driver.ts';
import { BlockNode } from './block-node.ts';

const context = testContext();

function nodeOf(
  state: ControllableState,
  children: BlockChild[] = [],
  kind: 'protocol' | 'format' = 'protocol',
): BlockNode {
  return new BlockNode({ name: 'n', driver: 'c', kind, context, state, children, readOnly: false });
}

function heldNode(options: ControllableOptions = {}): {
  node: BlockNode;
  state: ControllableState;
} {
  const state = new ControllableState(65536, { mode: 'held', ...options });
  return { node: nodeOf(state), state };
}

const bytes = (n: number, value = 1): IOVector => IOVector.of(new Uint8Array(n).fill(value));
const kinds = (state: ControllableState): string[] => state.held.map((call) => call.kind);
/** Whether it has settled after all that can run has run. */
async function settled(ret: MaybeRet | Promise<unknown>): Promise<boolean> {
  let done = false;
  void Promise.resolve(ret).then(() => (done = true));
  for (let i = 0; i < 20; i++) await Promise.resolve();
  return done;
}

describe('serialising', () => {
  const blocks = { limits: { requestAlignment: 512 } };

  it('keeps two read-modify-writes of one block apart, and everything else together', async () => {
    const { node, state } = heldNode(blocks);
    const first = node.pwritev(0, bytes(10, 1));
    const second = node.pwritev(100, bytes(10, 2));
    const read = node.preadv(0, bytes(512));
    const elsewhere = node.preadv(512, bytes(512));
    const other = node.pwritev(1024, bytes(10, 3));
    expect(state.held.map((call) => `${call.kind} ${call.offset}`)).toEqual([
      'preadv 0', 'preadv 512', 'preadv 1024',
    ]); // prettier-ignore
    await state.releaseAll();
    for (const ret of [first, second, read, elsewhere, other]) expect(await ret).toBe(0);
    expect([0, 100, 1024].map((at) => state.bytes[at])).toEqual([1, 2, 3]);
  });

  it('lets a serialising write wait for reads and writes under way in its blocks', async () => {
    const { node, state } = heldNode(blocks);
    void node.pwritev(0, bytes(512, 5));
    void node.preadv(512, bytes(512));
    const rmw = node.pwritev(500, bytes(20, 6));
    expect(kinds(state)).toEqual(['pwritev', 'preadv']);
    state.held[0]!.release();
    expect(await settled(rmw)).toBe(false);
    expect(kinds(state)).toEqual(['preadv']);
    await state.releaseAll();
    expect(await rmw).toBe(0);
    expect([499, 500, 519, 520].map((at) => state.bytes[at])).toEqual([5, 6, 6, 0]);
  });

  it('never waits in a circle: chains of overlaps with FUA, flushes and resizes end', async () => {
    const { node, state } = heldNode(blocks);
    const all: MaybeRet[] = [];
    for (let i = 0; i < 50; i++) {
      all.push(node.pwritev(i * 300, bytes(700, i + 1), i % 3 === 0 ? REQ_FUA : 0));
      if (i % 7 === 0) all.push(node.flush(), node.truncate(65536));
      if (i % 5 === 0) all.push(node.pwriteZeroes(i * 300, 100, REQ_FUA));
    }
    await state.releaseAll();
    for (const ret of all) expect(await ret).toBe(0);
    expect(node.inFlight).toBe(0);
  });

  it('resizes alone: after what is under way, before what comes later', async () => {
    const { node, state } = heldNode();
    const before = node.pwritev(0, bytes(512));
    const resize = node.truncate(131_072);
    const after = node.preadv(0, bytes(512));
    const flush = node.flush();
    expect(kinds(state)).toEqual(['pwritev']);
    state.held[0]!.release();
    expect(await settled(before)).toBe(true);
    expect(kinds(state)).toEqual(['truncate']);
    await state.releaseAll();
    expect([await resize, await after, await flush]).toEqual([0, 0, 0]);
    expect(node.length).toBe(131_072);
  });
});

describe('flush', () => {
  it('shares one run among all that come while another is under way', async () => {
    const { node, state } = heldNode();
    const write = node.pwritev(0, bytes(512));
    await state.releaseAll();
    expect(await write).toBe(0);
    const first = node.flush();
    const rest = Array.from({ length: 100 }, () => node.flush());
    state.mode = 'sync';
    void node.pwritev(0, bytes(512));
    state.mode = 'held';
    rest.push(node.flush());
    await state.releaseAll();
    for (const ret of [first, ...rest]) expect(await ret).toBe(0);
    expect(state.counts.flush).toBe(2);
  });

  it('leaves a protocol alone that has nothing to flush, and tries again after a failure', () => {
    const { node, state } = heldNode({ mode: 'sync' });
    expect(node.flush()).toBe(0);
    expect(state.counts.flush).toBe(0);
    void node.pwritev(0, bytes(512));
    state.failAt('flush', 1, -EIO);
    expect([node.flush(), node.flush(), node.flush()]).toEqual([-EIO, 0, 0]);
    expect(state.counts.flush).toBe(2);
    for (const change of [() => node.pwriteZeroes(0, 512), () => node.pdiscard(0, 512)]) {
      const before = state.counts.flush;
      void change();
      void node.flush();
      expect(state.counts.flush).toBe(before + 1);
    }
  });

  it('flushes the children that are written to, after the driver, even with nothing of its own', () => {
    const order: string[] = [];
    const child = (name: string): ControllableState => {
      const state = new ControllableState(65536);
      const { flush } = state;
      state.flush = (): MaybeRet => (order.push(name), flush!());
      return state;
    };
    const [file, data, backing, own] = ['file', 'data', 'backing', 'own'].map(child);
    const edges = [
      new BlockChild('file', nodeOf(file!), true),
      new BlockChild('data-file', nodeOf(data!), true),
      new BlockChild('backing', nodeOf(backing!), false),
    ];
    const top = nodeOf(own!, edges, 'format');
    for (const edge of edges) void edge.node.pwritev(0, bytes(512));
    expect(top.flush()).toBe(0);
    expect(order).toEqual(['own', 'file', 'data']);
    void edges[0]!.node.pwritev(0, bytes(512));
    file!.failAt('flush', 1, -EIO);
    expect(top.flush()).toBe(-EIO);
  });
});

describe('drain', () => {
  it('waits for what is under way, on all levels above, and holds back what comes', async () => {
    const low = new ControllableState(65536, { mode: 'held' });
    const bottom = nodeOf(low);
    const edge = new BlockChild('file', bottom, true);
    const high = new ControllableState(65536);
    // Answers late although its child has answered: the parent itself is busy.
    high.preadv = (offset, qiov): MaybeRet =>
      Promise.resolve(edge.preadv(offset, qiov)).then(() => edge.preadv(offset, qiov));
    const top = nodeOf(high, [edge], 'format');
    const backend = new BlockBackend({ name: 'b', context, root: top });
    const order: string[] = [];
    const first = Promise.resolve(backend.preadv(0, bytes(512))).then(() => order.push('first'));
    const drained = bottom.whileDrained(async () => {
      order.push('drained');
      expect([top.inFlight, bottom.inFlight, backend.inFlight, low.held.length]).toEqual([
        0, 0, 0, 0,
      ]);
      await Promise.resolve();
      order.push('end');
    });
    const waits = [1, 2].map((i) =>
      Promise.resolve(backend.preadv(0, bytes(512))).then(() => order.push(`later ${i}`)),
    );
    expect(low.held.length).toBe(1);
    await low.releaseAll();
    await Promise.all([first, drained, ...waits]);
    expect(order).toEqual(['first', 'drained', 'end', 'later 1', 'later 2']);
    expect([low.drainBegins, low.drainEnds, high.drainBegins, high.drainEnds]).toEqual([
      1, 1, 1, 1,
    ]);
  });

  it('nests, counts, and reaches parents that come meanwhile', async () => {
    const state = new ControllableState(65536);
    const node = nodeOf(state);
    await node.drainBegin();
    await node.drainBegin();
    const backend = new BlockBackend({ name: 'b', context, root: node });
    const waiting = backend.preadv(0, bytes(512));
    node.drainEnd();
    expect(await settled(waiting)).toBe(false);
    node.drainEnd();
    expect(await waiting).toBe(0);
    expect([state.drainBegins, state.drainEnds]).toEqual([1, 1]);
    expect(() => node.drainEnd()).toThrow('ended twice');
  });

  it('counts a FUA write as under way until its flush is over', async () => {
    const { node, state } = heldNode();
    const write = node.pwritev(0, bytes(512), REQ_FUA);
    let drained = false;
    const drain = node.whileDrained(async () => void (drained = true));
    state.held[0]!.release();
    await settled(0);
    expect(kinds(state)).toEqual(['flush']);
    expect(drained).toBe(false);
    await state.releaseAll();
    await drain;
    expect(await write).toBe(0);
  });

  it('closes after what is under way, flushed; and says so when the flush failed', async () => {
    const { node, state } = heldNode();
    const write = node.pwritev(0, bytes(512));
    const closing = node.close();
    await settled(0);
    expect(state.closes).toBe(0);
    await state.releaseAll();
    await closing;
    expect(await write).toBe(0);
    expect([state.counts.flush, state.closes]).toEqual([1, 1]);

    const failing = heldNode({ mode: 'sync' });
    void failing.node.pwritev(0, bytes(512));
    failing.state.failAt('flush', 1, -EIO);
    await expect(failing.node.close()).rejects.toMatchObject({ code: 'EIO', node: 'n' });
    expect(failing.state.closes).toBe(1);
  });
});
