import { describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { MemoryRegion } from '../base/memory-region.ts';
import { EIO, ENOMEDIUM, EROFS } from '../base/ret.ts';
import { ControllableState } from '../testing/controllable.ts';
import { testContext } from '../testing/test-context.ts';
import { BlockBackend } from './block-backend.ts';
import { REQ_FUA } from './block-driver.ts';
import { BlockNode } from './block-node.ts';
import { Graph } from './graph.ts';
import { openGraph } from './open.ts';
import { backendInfo } from './query-stats.ts';

const context = testContext();

function setup(): { backend: BlockBackend; node: BlockNode; state: ControllableState } {
  const state = new ControllableState(65536, { limits: { supportedWriteFlags: REQ_FUA } });
  const parts = { name: 'n', driver: 'c', kind: 'protocol', children: [] } as const;
  const node = new BlockNode({ ...parts, context, state, readOnly: false });
  return { backend: new BlockBackend({ name: 'b', context, root: node }), node, state };
}

const bytes = (n: number, value = 1): IOVector => IOVector.of(new Uint8Array(n).fill(value));

describe('BlockBackend', () => {
  it('makes every write durable while the write cache is off', () => {
    const { backend, state } = setup();
    backend.enableWriteCache = false;
    void backend.pwritev(0, bytes(512));
    void backend.pwriteZeroes(0, 512);
    backend.enableWriteCache = true;
    void backend.pwritev(0, bytes(512));
    expect(state.log.map((call) => [call.kind, call.flags])).toEqual([
      ['pwritev', REQ_FUA], ['pwriteZeroes', 0], ['flush', 0], ['pwritev', 0],
    ]); // prettier-ignore
  });

  it('lets requests made while drained go on in their order', async () => {
    const { backend, state } = setup();
    const later: (number | Promise<number>)[] = [];
    await backend.whileDrained(async () => {
      for (let i = 0; i < 5; i++) later.push(backend.pwritev(i * 512, bytes(512)));
      later.push(backend.flush(), backend.pdiscard(0, 512), backend.truncate(131_072));
      await new Promise((resolve) => queueMicrotask(() => resolve(0)));
      expect(state.log).toEqual([]);
    });
    for (const ret of later) expect(await ret).toBe(0);
    expect(state.log.map((call) => `${call.kind} ${call.offset}`)).toEqual([
      'pwritev 0', 'pwritev 512', 'pwritev 1024', 'pwritev 1536', 'pwritev 2048', 'flush 0',
      'pdiscard 0', 'truncate 131072',
    ]); // prettier-ignore
  });

  it('answers ENOMEDIUM without a medium, EROFS when read-only', async () => {
    const { backend, node } = setup();
    const reader = new BlockBackend({ name: 'r', context, root: node, readOnly: true });
    expect(reader.preadv(0, bytes(512))).toBe(0);
    expect([
      reader.pwritev(0, bytes(512)),
      reader.pwriteZeroes(0, 1),
      reader.pdiscard(0, 1),
    ]).toEqual([-EROFS, -EROFS, -EROFS]);
    expect(await reader.truncate(0)).toBe(-EROFS);
    await backend.close();
    expect([backend.preadv(0, bytes(512)), backend.flush()]).toEqual([-ENOMEDIUM, -ENOMEDIUM]);
    expect([backend.length, await backend.truncate(0)]).toEqual([0, -ENOMEDIUM]);
    backend.insert(node);
    expect([backend.length, backend.preadv(0, bytes(512))]).toEqual([65536, 0]);
  });

  it('turns an exception from below into EIO and keeps its message', () => {
    const { backend, state } = setup();
    state.throwNext('preadv');
    expect(backend.preadv(0, bytes(512))).toBe(-EIO);
    state.throwNext('flush');
    void backend.pwritev(0, bytes(512));
    expect(backend.flush()).toBe(-EIO);
    expect(backend.lastBug).toContain('flush has a bug');
    expect(backend.preadv(0, bytes(512))).toBe(0);
    expect([backend.stats.failedRdOperations, backend.stats.failedFlushOperations]).toEqual([1, 1]);
  });

  it('tells listeners of every new length, also through layers', async () => {
    const graph = new Graph(context);
    await openGraph(graph, { driver: 'memory', 'node-name': 'm', size: 65536 });
    const top = await openGraph(graph, { driver: 'raw', 'node-name': 'top', file: 'm' });
    const backend = graph.newBackend({ name: 'b', nodeName: 'top' });
    const lengths: number[] = [];
    const listener = (): void => void lengths.push(backend.length);
    backend.onResize(listener);
    expect(await top.truncate(131_072)).toBe(0);
    expect(await backend.truncate(4096)).toBe(0);
    expect(await graph.get('m').truncate(8192)).toBe(0);
    backend.offResize(listener);
    expect(await backend.truncate(65536)).toBe(0);
    expect(lengths).toEqual([131_072, 4096, 8192]);
  });

  it('times what took a promise', async () => {
    const graph = new Graph(context);
    const options = { driver: 'null-co', 'node-name': 'n', size: 65536, 'latency-ns': 30e6 };
    await openGraph(graph, options);
    const backend = graph.newBackend({ name: 'b', nodeName: 'n' });
    expect(await backend.preadv(0, bytes(512))).toBe(0);
    expect(await backend.pwritev(0, bytes(512))).toBe(0);
    const { latency, stats } = backendInfo(backend);
    const total = (counts: readonly number[]): number => counts.reduce((sum, n) => sum + n, 0);
    expect([total(latency.rd), total(latency.wr), stats['promises']]).toEqual([1, 1, 2]);
    // More than 2048 µs of the 30 ms, however late the clock was looked at first.
    expect(latency.rd.findIndex((n) => n > 0)).toBeGreaterThanOrEqual(12);
  });
});

describe('the straight way', () => {
  it('takes 100,000 reads and writes without a promise, a new view or garbage', async () => {
    const graph = new Graph(testContext());
    await openGraph(graph, { driver: 'memory', 'node-name': 'm', size: 2 ** 24 });
    const backend = graph.newBackend({ name: 'b', nodeName: 'm' });
    const region = new MemoryRegion(new Uint8Array(2 ** 20));
    const table = Uint32Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? i * 8192 : 4096));
    const qiov = new IOVector(region);
    const round = (count: number): number => {
      let failed = 0;
      for (let i = 0; i < count; i++) {
        const write = i % 4 === 0;
        qiov.reset(region, table, (2 * i) % 64, 1, 4096);
        const offset = ((i * 37) % 4096) * 4096;
        const ret = write ? backend.pwritev(offset, qiov) : backend.preadv(offset, qiov);
        if (ret !== 0) failed += 1;
      }
      return failed;
    };
    expect(round(20_000)).toBe(0);
    const views = region.viewsMade;
    const { stats } = backend;
    const before = { promises: stats.promises, sync: stats.answeredSync };
    globalThis.gc?.();
    const heap = process.memoryUsage().heapUsed;
    const failed = round(100_000);
    const perRequest = (process.memoryUsage().heapUsed - heap) / 100_000;
    expect(failed).toBe(0);
    expect(stats.promises - before.promises).toBe(0);
    expect(stats.answeredSync - before.sync).toBe(100_000);
    expect(region.viewsMade - views).toBe(0);
    expect(perRequest, `${perRequest} bytes a request`).toBeLessThan(24);
    expect(graph.get('m').stats.promises).toBe(0);
  });
});
