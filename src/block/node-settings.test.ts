// `detect-zeroes` and the cache modes, by what reaches a driver.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { EIO } from '../base/ret.ts';
import { ControllableState } from '../testing/controllable.ts';
import type { ControllableOptions } from '../testing/controllable.ts';
import { ByteModel } from '../testing/model.ts';
import { Prng } from '../testing/prng.ts';
import { testContext } from '../testing/test-context.ts';
import { REQ_FUA, REQ_MAY_UNMAP } from './block-driver.ts';
import { BlockChild } from './block-child.ts';
import { BlockNode } from './block-node.ts';
import type { BlockNodeParts } from './block-node.ts';
import { parseCacheMode } from './cache-mode.ts';
import { Graph } from './graph.ts';
import type { NodeSettings } from './node-settings.ts';
import { openGraph } from './open.ts';

function setup(
  settings: Partial<NodeSettings>,
  options: ControllableOptions = {},
  parts: Partial<BlockNodeParts> = {},
): { node: BlockNode; state: ControllableState } {
  const state = new ControllableState(64 * 1024, options);
  const kind = 'protocol' as const;
  const base = { name: 'n', driver: 'c', kind, state, children: [], readOnly: false };
  return { node: new BlockNode({ ...base, context: testContext(), settings, ...parts }), state };
}

const bytes = (n: number, value: number): IOVector => IOVector.of(new Uint8Array(n).fill(value));
const calls = (state: ControllableState): (string | number)[][] =>
  state.log.map((call) => [call.kind, call.offset, call.bytes, call.flags]);

describe('detect-zeroes', () => {
  it('turns writes of zeroes into zero writes, which may deallocate if it says so', () => {
    const limits = { supportedZeroFlags: REQ_MAY_UNMAP };
    const unmap = setup({ detectZeroes: 'unmap' }, { limits });
    expect(unmap.node.pwritev(512, bytes(1024, 0), REQ_FUA)).toBe(0);
    expect(calls(unmap.state)).toEqual([
      ['pwriteZeroes', 512, 1024, REQ_MAY_UNMAP],
      ['flush', 0, 0, 0],
    ]);
    const on = setup({ detectZeroes: 'on' }, { limits });
    const one = new Uint8Array(1024);
    one[1023] = 1;
    expect(on.node.pwritev(0, bytes(1024, 0))).toBe(0);
    expect(on.node.pwritev(0, IOVector.of(one))).toBe(0);
    expect(on.node.pwritev(0, IOVector.of(new Uint8Array(0)))).toBe(0);
    expect(calls(on.state)).toEqual([
      ['pwriteZeroes', 0, 1024, 0],
      ['pwritev', 0, 1024, 0],
    ]);
    const off = setup({}, { limits });
    expect(off.node.pwritev(0, bytes(1024, 0))).toBe(0);
    expect(off.state.counts).toMatchObject({ pwritev: 1, pwriteZeroes: 0 });
    const lacks = setup({ detectZeroes: 'on' }, { lacks: ['pwriteZeroes'] });
    expect(lacks.node.pwritev(0, bytes(1024, 0))).toBe(0);
    expect(lacks.state.counts.pwritev).toBe(1);
  });

  it.each([1, 512])('leaves the bytes what they are, alignment %d', async (requestAlignment) => {
    const { node } = setup({ detectZeroes: 'unmap' }, { limits: { requestAlignment, pwriteZeroesAlignment: 4096 }, mode: 'microtask' }); // prettier-ignore
    const prng = new Prng(3);
    const model = new ByteModel(node.length);
    for (let i = 0; i < 200; i++) {
      const data = new Uint8Array(1 + prng.below(10_000)).fill(prng.chance(60) ? 0 : i + 1);
      const offset = prng.below(node.length - data.length);
      model.write(offset, data);
      expect(await node.pwritev(offset, IOVector.of(data))).toBe(0);
    }
    const all = new Uint8Array(node.length);
    expect(await node.preadv(0, IOVector.of(all))).toBe(0);
    model.check(0, all, 'in the end');
    expect(node.stats.zeroOperations).toBeGreaterThan(50);
  });

  it('does not go with discards that are ignored', async () => {
    const graph = new Graph(testContext());
    const options = { driver: 'memory', size: 512, discard: 'ignore', 'detect-zeroes': 'unmap' };
    await expect(openGraph(graph, options)).rejects.toMatchObject({ code: 'EINVAL' });
  });
});

describe('cache.no-flush', () => {
  it('answers flushes of a protocol, but not the last one', async () => {
    const { node, state } = setup({ cacheNoFlush: true });
    expect(node.pwritev(0, bytes(512, 1), REQ_FUA)).toBe(0);
    expect(node.flush()).toBe(0);
    expect(state.counts.flush).toBe(0);
    state.failAt('flush', 1, -EIO);
    await expect(node.close()).rejects.toMatchObject({ code: 'EIO' });
    expect(state.counts.flush).toBe(1);
  });

  it('still has a format write its tables, and children that flush', () => {
    const file = setup({}, {}, { name: 'file' });
    const format = setup({ cacheNoFlush: true }, {}, {
      kind: 'format', children: [new BlockChild('file', file.node, true)],
    }); // prettier-ignore
    void file.node.pwritev(0, bytes(512, 1));
    expect(format.node.flush()).toBe(0);
    expect([format.state.counts.flush, file.state.counts.flush]).toEqual([1, 1]);
  });

  it('can be changed while the node is open', () => {
    const { node, state } = setup({ cacheNoFlush: true });
    void node.pwritev(0, bytes(512, 1));
    void node.flush();
    node.applySettings({ ...node.settings, cacheNoFlush: false, detectZeroes: 'on' });
    expect(node.flush()).toBe(0);
    expect(state.counts.flush).toBe(1);
    void node.pwritev(0, bytes(512, 0));
    expect(state.counts.pwriteZeroes).toBe(1);
  });
});

describe('cache options', () => {
  it('are inherited by children that say nothing else', async () => {
    const graph = new Graph(testContext());
    await openGraph(
      graph,
      {
        driver: 'raw',
        'node-name': 'top',
        'cache.no-flush': true,
        file: {
          driver: 'raw',
          'node-name': 'middle',
          cache: { 'no-flush': 'off' },
          file: { driver: 'memory', size: 512, 'node-name': 'bottom' },
        },
      },
      { cache: { cacheDirect: true, cacheNoFlush: false } },
    );
    const of = (name: string): boolean[] => {
      const { cacheDirect, cacheNoFlush } = graph.get(name).settings;
      return [cacheDirect, cacheNoFlush];
    };
    expect(of('top')).toEqual([true, true]);
    expect(of('middle')).toEqual([true, false]);
    expect(of('bottom')).toEqual([true, false]);
    await graph.closeAll();
  });

  it.each([
    [{ cache: 'unsafe' }, /an object of 'direct' and 'no-flush'/],
    [{ 'cache.writeback': 'on' }, /unknown option 'writeback'/],
    [{ 'detect-zeroes': 'yes' }, /'off' or 'on' or 'unmap'/],
  ])('refuse %o', async (options, message) => {
    const graph = new Graph(testContext());
    await expect(openGraph(graph, { driver: 'memory', size: 512, ...options })).rejects.toThrow(
      message,
    );
  });

  it('are what a mode stands for', () => {
    const mode = (name: string): boolean[] => {
      const { enableWriteCache, cacheDirect, cacheNoFlush } = parseCacheMode(name);
      return [enableWriteCache, cacheDirect, cacheNoFlush];
    };
    expect(mode('writeback')).toEqual([true, false, false]);
    expect(mode('none')).toEqual([true, true, false]);
    expect(mode('writethrough')).toEqual([false, false, false]);
    expect(mode('directsync')).toEqual([false, true, false]);
    expect(mode('unsafe')).toEqual([true, false, true]);
    expect(() => mode('fast')).toThrow(/no cache mode 'fast'; there are: writeback, none/);
  });
});
