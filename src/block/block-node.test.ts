// The rules of block/io.c, one by one, over a driver that logs what reaches it.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { MemoryRegion } from '../base/memory-region.ts';
import { ECANCELED, EINVAL, EIO, ENOMEDIUM, ENOSPC, ENOTSUP, EROFS } from '../base/ret.ts';
import type { ControllableOptions } from '../testing/controllable.ts';
import { ControllableState } from '../testing/controllable.ts';
import type { TestContext } from '../testing/test-context.ts';
import { testContext } from '../testing/test-context.ts';
import { REQ_FUA, REQ_MAY_UNMAP, REQ_NO_FALLBACK } from './block-driver.ts';
import { BlockNode } from './block-node.ts';
import type { BlockNodeParts } from './block-node.ts';
import { ZERO_BUFFER_BYTES } from './shaping.ts';

interface Setup {
  readonly node: BlockNode;
  readonly state: ControllableState;
  readonly context: TestContext;
}

function setup(options: ControllableOptions = {}, parts: Partial<BlockNodeParts> = {}): Setup {
  const state = new ControllableState(64 * 1024, options);
  const context = testContext();
  const kind = 'protocol' as const;
  const base = { name: 'n', driver: 'c', kind, context, state, children: [], readOnly: false };
  return { node: new BlockNode({ ...base, ...parts }), state, context };
}

const bytes = (n: number, value = 1): IOVector => IOVector.of(new Uint8Array(n).fill(value));
/** `kind offset+bytes` of every call. */
const calls = (state: ControllableState): string[] =>
  state.log.map((call) => `${call.kind} ${call.offset}+${call.bytes}`);

describe('requests that reach no driver', () => {
  it('refuses ranges outside, NaN and fractions, and counts them', () => {
    const { node, state } = setup();
    for (const offset of [-1, 65536 - 511, NaN, Infinity, 0.5, 2 ** 60]) {
      expect(node.preadv(offset, bytes(512))).toBe(-EINVAL);
      expect(node.pwritev(offset, bytes(512))).toBe(-EINVAL);
    }
    expect(node.pdiscard(0, NaN)).toBe(-EINVAL);
    expect(node.stats.invalidOperations).toBe(13);
    expect(state.log).toEqual([]);
  });

  it('passes nothing on from revoked memory, and nothing after close', async () => {
    const { node, state } = setup();
    const region = new MemoryRegion(new Uint8Array(512));
    region.revoke();
    expect(node.preadv(0, new IOVector(region, [0, 512]))).toBe(-ECANCELED);
    expect(node.pwritev(0, new IOVector(region, [0, 512]))).toBe(-ECANCELED);
    await node.close();
    await node.close();
    expect(node.preadv(0, bytes(512))).toBe(-ENOMEDIUM);
    expect(node.pwritev(0, bytes(512))).toBe(-ENOMEDIUM);
    expect(node.flush()).toBe(-ENOMEDIUM);
    expect(await node.truncate(0)).toBe(-ENOMEDIUM);
    expect(state.closes).toBe(1);
    expect(state.log).toEqual([]);
  });

  it('writes nothing to a read-only node, nor to one whose driver cannot write', async () => {
    for (const { node, state } of [setup({}, { readOnly: true }), setup({ lacks: ['pwritev'] })]) {
      expect(node.readOnly).toBe(true);
      expect(node.pwritev(0, bytes(512))).toBe(-EROFS);
      expect(node.pwriteZeroes(0, 512)).toBe(-EROFS);
      expect(node.pdiscard(0, 512)).toBe(-EROFS);
      expect(await node.truncate(0)).toBe(-EROFS);
      expect(node.flush()).toBe(0);
      expect(state.log).toEqual([]);
    }
  });
});

describe('alignment and splitting', () => {
  it('reads and rewrites only the blocks that are covered in part', () => {
    const { node, state } = setup({ limits: { requestAlignment: 512 } });
    state.bytes.fill(7);
    expect(node.pwritev(500, bytes(2000, 9))).toBe(0);
    expect(calls(state)).toEqual([
      'preadv 0+512', 'pwritev 0+512', 'pwritev 512+1536', 'preadv 2048+512', 'pwritev 2048+512',
    ]); // prettier-ignore
    expect([499, 500, 2499, 2500].map((at) => state.bytes[at])).toEqual([7, 9, 9, 7]);
    state.log.length = 0;
    expect(node.pwritev(5000, bytes(3, 1))).toBe(0);
    expect(calls(state)).toEqual(['preadv 4608+512', 'pwritev 4608+512']);
    state.log.length = 0;
    const back = new Uint8Array(700);
    expect(node.preadv(400, IOVector.of(back))).toBe(0);
    expect(calls(state)).toEqual(['preadv 0+512', 'preadv 512+512', 'preadv 1024+512']);
    expect(back).toEqual(state.bytes.slice(400, 1100));
  });

  it('stops a read-modify-write whose read fails: the block stays as it was', () => {
    const { node, state } = setup({ limits: { requestAlignment: 512 } });
    state.failAt('preadv', 1, -EIO);
    expect(node.pwritev(100, bytes(10, 9))).toBe(-EIO);
    expect(state.counts.pwritev).toBe(0);
    expect(node.stats.failedWrOperations).toBe(1);
  });

  it('cuts what is longer than maxTransfer, and stops at the first failure', () => {
    const { node, state } = setup({ limits: { requestAlignment: 512, maxTransfer: 1500 } });
    expect(node.preadv(0, bytes(4096))).toBe(0);
    expect(calls(state)).toEqual([
      'preadv 0+1024', 'preadv 1024+1024', 'preadv 2048+1024', 'preadv 3072+1024',
    ]); // prettier-ignore
    state.failAt('pwritev', 2, -ENOSPC);
    expect(node.pwritev(0, bytes(4096))).toBe(-ENOSPC);
    expect(state.counts.pwritev).toBe(2);
  });

  it('never touches memory that was revoked while its block was read', async () => {
    const { node, state } = setup({ limits: { requestAlignment: 512 }, mode: 'held' });
    const region = new MemoryRegion(new Uint8Array(100).fill(9));
    const ret = node.pwritev(100, new IOVector(region, [0, 100]));
    region.revoke();
    await state.releaseAll();
    expect(await ret).toBe(-ECANCELED);
    expect(state.counts.pwritev).toBe(0);
  });
});

describe('emulation', () => {
  it('flushes once after a FUA write, whatever its pieces, unless the driver does FUA', () => {
    const { node, state } = setup({ limits: { maxTransfer: 512 } });
    expect(node.pwritev(0, bytes(2048), REQ_FUA)).toBe(0);
    expect([state.counts.pwritev, state.counts.flush]).toEqual([4, 1]);
    const native = setup({ limits: { supportedWriteFlags: REQ_FUA } });
    expect(native.node.pwritev(0, bytes(2048), REQ_FUA)).toBe(0);
    expect(native.state.log).toEqual([{ kind: 'pwritev', offset: 0, bytes: 2048, flags: REQ_FUA }]);
  });

  it('answers the flush error of a FUA write, and does not flush after a failed one', () => {
    const { node, state } = setup();
    state.failAt('flush', 1, -EIO);
    expect(node.pwritev(0, bytes(512), REQ_FUA)).toBe(-EIO);
    state.failAt('pwritev', 1, -ENOSPC);
    expect(node.pwritev(0, bytes(512), REQ_FUA)).toBe(-ENOSPC);
    expect(state.counts.flush).toBe(1);
  });

  it('writes zeroes from a bounded buffer where the driver has none, or says ENOTSUP', async () => {
    const size = 2 * ZERO_BUFFER_BYTES + 4096;
    const { node, state } = setup({ lacks: ['pwriteZeroes'] });
    await node.truncate(size);
    state.bytes.fill(7);
    expect(node.pwriteZeroes(0, size, REQ_FUA)).toBe(0);
    expect(state.counts.pwritev).toBe(3);
    expect(Math.max(...state.log.map((call) => call.bytes))).toBe(ZERO_BUFFER_BYTES);
    expect(state.counts.flush).toBe(1);
    expect(state.bytes.every((byte) => byte === 0)).toBe(true);
    expect(node.pwriteZeroes(0, 4096, REQ_NO_FALLBACK)).toBe(-ENOTSUP);

    for (const mode of ['sync', 'microtask'] as const) {
      const unwilling = setup({ mode });
      unwilling.state.failAt('pwriteZeroes', 1, -ENOTSUP);
      expect(await unwilling.node.pwriteZeroes(0, 4096)).toBe(0);
      expect(calls(unwilling.state)).toEqual(['pwriteZeroes 0+4096', 'pwritev 0+4096']);
    }
  });

  it('gives the driver whole granules of zeroes, and only flags that it has', () => {
    const { node, state } = setup({
      limits: { pwriteZeroesAlignment: 4096, supportedZeroFlags: REQ_MAY_UNMAP },
    });
    expect(node.pwriteZeroes(1000, 12_000, REQ_MAY_UNMAP | REQ_FUA)).toBe(0);
    expect(calls(state)).toEqual([
      'pwritev 1000+3096', 'pwriteZeroes 4096+8192', 'pwritev 12288+712', 'flush 0+0',
    ]); // prettier-ignore
    expect(state.log[1]!.flags).toBe(REQ_MAY_UNMAP);
  });

  it('discards whole granules inside, and takes no answer amiss', () => {
    const { node, state } = setup({ limits: { pdiscardAlignment: 4096 } });
    expect(node.pdiscard(1, 4096)).toBe(0);
    expect(state.log).toEqual([]);
    state.failAt('pdiscard', 1, -ENOTSUP);
    expect(node.pdiscard(1, 16_000)).toBe(0);
    expect(calls(state)).toEqual(['pdiscard 4096+8192']);
    state.failAt('pdiscard', 1, -EIO);
    expect(node.pdiscard(0, 4096)).toBe(-EIO);
    expect(setup({ lacks: ['pdiscard'] }).node.pdiscard(0, 4096)).toBe(0);
    const ignoring = setup(
      { limits: { supportedZeroFlags: REQ_MAY_UNMAP } },
      { settings: { discard: 'ignore' } },
    );
    expect(ignoring.node.pdiscard(0, 4096)).toBe(0);
    expect(ignoring.node.pwriteZeroes(0, 4096, REQ_MAY_UNMAP)).toBe(0);
    expect(ignoring.state.log.map((call) => [call.kind, call.flags])).toEqual([
      ['pwriteZeroes', 0],
    ]);
  });

  it('lets others run while it writes out very many zeroes', async () => {
    const { node, context } = setup({ lacks: ['pwriteZeroes'], limits: { maxTransfer: 2 ** 20 } });
    await node.truncate(40 * 2 ** 20);
    let turns = 0;
    context.scheduleOneshot = (callback): void => {
      turns += 1;
      queueMicrotask(callback);
    };
    expect(await node.pwriteZeroes(0, 40 * 2 ** 20)).toBe(0);
    expect(turns).toBe(2);
  });
});

describe('accounts', () => {
  it('counts operations, bytes, errors and how they were answered', async () => {
    const { node, state, context } = setup();
    void node.pwritev(0, bytes(1000));
    void node.preadv(0, bytes(500));
    state.failAt('preadv', 1, -EIO);
    void node.preadv(0, bytes(500));
    expect(context.tracked).toBe(0);
    state.mode = 'held';
    const later = [node.preadv(0, bytes(100)), node.flush()];
    expect([node.inFlight, context.hostWork]).toEqual([2, 2]);
    await state.releaseAll();
    expect(await Promise.all(later.map((ret) => Promise.resolve(ret)))).toEqual([0, 0]);
    expect(node.stats.snapshot()).toMatchObject({
      rdOperations: 3, rdBytes: 600, failedRdOperations: 1, wrOperations: 1, wrBytes: 1000,
      flushOperations: 1, answeredSync: 3, promises: 2, inFlight: 0,
    }); // prettier-ignore
  });

  it('turns a driver that rejects into an I/O error, and remembers why', async () => {
    const { node, state } = setup({ limits: { requestAlignment: 512 }, mode: 'microtask' });
    const ret = node.pwritev(0, bytes(100)); // its block is read first
    state.throwNext('pwritev');
    expect(await ret).toBe(-EIO);
    expect(node.lastBug).toContain('pwritev has a bug');
    expect(node.inFlight).toBe(0);
    expect(await node.pwritev(0, bytes(100))).toBe(0);
  });
});

describe('the generation of a node', () => {
  it('lasts while the node is open, and changes with what is written', async () => {
    const { node, state, context } = setup();
    const first = await node.generation();
    expect(first).toMatch(/^open-[0-9a-f]{24}-0$/);
    await node.preadv(0, bytes(512));
    await node.flush();
    expect(await node.generation()).toBe(first);
    const changes = [
      () => node.pwritev(0, bytes(512)),
      () => node.pwriteZeroes(0, 512),
      () => node.pdiscard(0, 512),
      () => node.truncate(32 * 1024),
    ];
    const seen = new Set([first]);
    for (const change of changes) {
      await change();
      seen.add(await node.generation());
    }
    expect(seen.size).toBe(5);
    const other = new BlockNode({
      name: 'm', driver: 'c', kind: 'protocol', context, state, children: [], readOnly: false,
    }); // prettier-ignore
    expect(seen).not.toContain(await other.generation());
  });

  it('is what the driver stores, in short; taken while nothing is in flight', async () => {
    const { node, state } = setup({ mode: 'held' });
    let told = 'etag-1';
    Object.assign(state, { generation: async () => told });
    const writing = node.pwritev(0, bytes(512));
    const generation = node.generation();
    let answered = false;
    void generation.then(() => (answered = true));
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(answered).toBe(false);
    const released = state.releaseAll();
    await writing;
    await released;
    await state.releaseAll(); // the flush
    expect(await generation).toBe('etag-1');
    told = 'x'.repeat(65);
    expect(await node.generation()).toMatch(/^[0-9a-f]{16}$/);
  });
});
