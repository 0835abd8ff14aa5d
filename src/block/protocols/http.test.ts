// The http driver against a real server: what is fetched, how often, and what is kept.

import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startImageServer } from '../../../e2e/server/image-server.ts';
import type { ImageServer } from '../../../e2e/server/image-server.ts';
import { IOVector } from '../../base/io-vector.ts';
import { MemoryRegion } from '../../base/memory-region.ts';
import { ECANCELED, EIO, OK } from '../../base/ret.ts';
import { openContext } from '../../testing/open-context.ts';
import { Prng } from '../../testing/prng.ts';
import { testContext } from '../../testing/test-context.ts';
import type { DriverState } from '../block-driver.ts';
import { driver } from './http.ts';

const SEED = 0x5eed;
const SIZE = 8 * 1024 * 1024 + 1234;
const K = 1024;
const image = new Prng(SEED).bytes(SIZE);
let server: ImageServer;

beforeAll(async () => {
  server = await startImageServer({ files: [['/a.img', { bytes: image }]] });
});
afterAll(() => server.close());
beforeEach(() => {
  server.setFault('/a.img', undefined);
  server.delayMs = 0;
});

async function open(options: Record<string, unknown> = {}): Promise<DriverState> {
  const context = openContext({ readOnly: true });
  const state = await driver.open(
    context,
    driver.parseOptions({ url: `${server.url}/a.img`, ...options }),
  );
  server.resetStats();
  return state;
}

async function read(state: DriverState, offset: number, bytes: number): Promise<Uint8Array> {
  const target = new Uint8Array(bytes);
  expect(await state.preadv(offset, IOVector.of(target), 0)).toBe(OK);
  return target;
}

function expectImage(got: Uint8Array, offset: number): void {
  const same = Buffer.compare(got, image.subarray(offset, offset + got.length)) === 0;
  expect(same, `bytes at ${offset}`).toBe(true);
}

describe('http', () => {
  it('probes with the range 0-0 and learns size and ETag', async () => {
    const context = openContext({ readOnly: true });
    server.resetStats();
    const state = await driver.open(context, driver.parseOptions({ url: `${server.url}/a.img` }));
    expect(server.log.map((entry) => entry.range)).toEqual(['bytes=0-0']);
    expect(state.length).toBe(SIZE);
    expect(state.info?.()).toMatchObject({ pinnedBy: 'etag', chunkSize: 64 * K });
    expect(context.notices).toEqual([]);
    await state.close();
  });

  it('answers cached reads with a number: 0 promises, 0 requests', async () => {
    const state = await open({ readahead: 0 });
    expectImage(await read(state, 0, 256 * K), 0);
    const before = server.stats.requests;
    const region = new MemoryRegion(new Uint8Array(new SharedArrayBuffer(64 * K)));
    const qiov = new IOVector(region, [0, 4096]);
    // The first round makes the views that the last does without; those between are not aligned.
    for (const [step, most] of [
      [4096, 64],
      [4000, Infinity],
      [4096, 0],
    ] as const) {
      // prettier-ignore
      let promises = 0;
      const subarray = vi.spyOn(Uint8Array.prototype, 'subarray');
      for (let i = 0; i < 5000; i++) {
        if (state.preadv((i % 63) * step, qiov, 0) !== OK) promises += 1;
      }
      const views = subarray.mock.calls.length;
      subarray.mockRestore();
      expect(promises).toBe(0);
      expect(views, `step ${step}`).toBeLessThanOrEqual(most);
      expectImage(qiov.segment(0), (4999 % 63) * step);
    }
    expect(server.stats.requests).toBe(before);
  });

  it('makes 1 request of 64 neighbouring 4 KiB reads, and of 1 MiB of them', async () => {
    for (const [count, requests] of [
      [64, 1],
      [256, 1],
      [512, 2],
    ] as const) {
      // prettier-ignore
      const state = await open({ readahead: 0 });
      const targets = Array.from({ length: count }, () => new Uint8Array(4096));
      const rets = targets.map(async (target, i) => state.preadv(i * 4096, IOVector.of(target), 0));
      expect(await Promise.all(rets)).toEqual(targets.map(() => OK));
      targets.forEach((target, i) => expectImage(target, i * 4096));
      expect(server.stats.requests, `${count} reads`).toBe(requests);
      expect(server.stats.bytes).toBe(count * 4096);
      await state.close();
    }
  });

  it('fetches a chunk once, however many wait for it, in ranges aligned to 4096', async () => {
    server.delayMs = 20;
    const state = await open({ readahead: 0 });
    const first = read(state, 300 * K, 8 * K);
    await new Promise((resolve) => setTimeout(resolve, 10));
    const [a, b, c] = await Promise.all([
      first,
      read(state, 304 * K, 100),
      read(state, 310 * K, 1),
    ]);
    expectImage(a, 300 * K);
    expectImage(b, 304 * K);
    expectImage(c, 310 * K);
    expect(server.log.map((entry) => entry.range)).toEqual([`bytes=${256 * K}-${320 * K - 1}`]);
  });

  it('never has more than 6 requests in flight', async () => {
    server.delayMs = 15;
    const state = await open({ readahead: 0 });
    const offsets = Array.from({ length: 40 }, (_, i) => i * 192 * K);
    const got = await Promise.all(offsets.map((offset) => read(state, offset, 4096)));
    got.forEach((bytes, i) => expectImage(bytes, offsets[i]!));
    expect(server.stats.requests).toBe(40);
    expect(server.stats.maxInFlight).toBe(6);
    expect(state.counters?.()['inFlightPeak']).toBe(6);
  });

  it('reads the ragged end, and scattered memory', async () => {
    const state = await open();
    expectImage(await read(state, SIZE - 1000, 1000), SIZE - 1000);
    const memory = new Uint8Array(10000);
    const qiov = new IOVector(new MemoryRegion(memory), [9000, 700, 10, 300, 2000, 5000]);
    expect(await state.preadv(64 * K - 500, qiov, 0)).toBe(OK);
    const joined = new Uint8Array(6000);
    qiov.copyTo(joined);
    expectImage(joined, 64 * K - 500);
    expect(memory[9]).toBe(0);
  });

  it('bounds its memory and reads right while it evicts', async () => {
    const state = await open({ 'cache-size': '512K', readahead: 0 });
    const random = new Prng(SEED);
    let pending: Promise<void>[] = [];
    for (let i = 0; i < 80; i++) {
      const offset = random.below(SIZE);
      const bytes = Math.min(1 + random.below(900 * K), SIZE - offset);
      pending.push(read(state, offset, bytes).then((got) => expectImage(got, offset)));
      if (pending.length === 8) {
        await Promise.all(pending);
        pending = [];
      }
    }
    await Promise.all(pending);
    const counters = state.counters!();
    expect(counters['cacheMemory']).toBe(512 * K);
    expect(counters['cacheEvictions']).toBeGreaterThan(200);
    expect(counters['inFlight']).toBe(0);
  });

  it('reads ahead on sequential access only', async () => {
    const random = await open();
    const order = new Prng(SEED);
    for (let i = 0; i < 20; i++) await read(random, order.below(16) * 512 * K, 4096);
    expect(server.stats.bytes).toBeLessThanOrEqual(16 * 64 * K);
    await random.close();

    const state = await open();
    for (let at = 0; at < 2048 * K; at += 32 * K) expectImage(await read(state, at, 32 * K), at);
    const { requests, bytes } = server.stats;
    expect(requests).toBeLessThanOrEqual(20);
    expect(bytes).toBeLessThanOrEqual(2048 * K + 320 * K);
    const ranges = server.log.map((entry) => entry.range);
    expect(new Set(ranges).size, 'no range twice').toBe(ranges.length);
  });

  it('lets demand overtake read-ahead', async () => {
    server.delayMs = 10;
    const state = await open({ 'max-connections': 1, readahead: '4M', 'chunk-size': '1M' });
    await read(state, 0, 4096);
    await read(state, 4096, 4096);
    server.resetStats();
    await read(state, 7 * 1024 * K, 4096);
    const at = server.log.findIndex((entry) => entry.range?.startsWith(`bytes=${7 * 1024 * K}-`));
    expect(at).toBeLessThanOrEqual(1);
    await state.close();
  });

  it('cancels what is in flight at once, and goes on afterwards', async () => {
    const state = await open({ readahead: 0 });
    server.setFault('/a.img', { kind: 'hang' });
    const target = new Uint8Array(4096);
    const rets = [0, 1, 2, 3, 4, 5, 6, 7].map(async (i) =>
      state.preadv(i * 512 * K, IOVector.of(target), 0),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    state.cancelInFlight?.();
    expect(await Promise.all(rets)).toEqual(rets.map(() => -ECANCELED));
    server.setFault('/a.img', undefined);
    expectImage(await read(state, 0, 4096), 0);
    expect(state.counters?.()['retries']).toBe(0);
  });

  it('aborts on close, leaves no timer behind, and answers -EIO later', async () => {
    const aioContext = testContext();
    const state = await driver.open(
      openContext({ readOnly: true, aioContext }),
      driver.parseOptions({ url: `${server.url}/a.img` }),
    );
    server.setFault('/a.img', { kind: 'stall', bytes: 100 });
    const ret = state.preadv(0, IOVector.of(new Uint8Array(10)), 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await state.close();
    await state.close();
    expect(await ret).toBe(-ECANCELED);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(aioContext.armedTimers).toBe(0);
    expect(state.preadv(0, IOVector.of(new Uint8Array(10)), 0)).toBe(-EIO);
  });

  it('counts read-ahead as host work, so that the loop does not sleep through it', async () => {
    const aioContext = testContext();
    const state = await driver.open(
      openContext({ readOnly: true, aioContext }),
      driver.parseOptions({ url: `${server.url}/a.img` }),
    );
    await read(state, 0, 4096);
    const before = aioContext.tracked;
    await read(state, 4096, 4096);
    await Promise.resolve();
    expect(aioContext.tracked).toBeGreaterThan(before);
    await state.close();
  });
});
