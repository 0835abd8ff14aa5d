// Disks of a terabyte: opening one costs what a small one costs, and however much of it is read, what is
// kept in memory stays within the budgets. Counted by the drivers, and by the heap.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { OK } from '../base/ret.ts';
import { fastContext } from '../testing/fast-context.ts';
import { IdbDouble } from '../testing/idb-double.ts';
import { openContext } from '../testing/open-context.ts';
import { Prng } from '../testing/prng.ts';
import { createQcow2, openQcow2 } from '../testing/qcow2-images.ts';
import type { DriverState } from './block-driver.ts';
import { driver as memory } from './protocols/memory.ts';
import { httpDriver } from './protocols/http.ts';
import { idbDriver } from './protocols/idb.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;
const PAGE = 4 * KIB;
const READS = 100_000;
const SEED = 20_261_128;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes in use, garbage apart. */
function heap(): number {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function file(): Promise<DriverState> {
  return memory.open(openContext(), memory.parseOptions({ size: 0 }));
}

/** An image with a cluster of data in each of `tables` L2 tables, spread over the whole of it. */
async function image(state: DriverState, bytes: number, tables: number): Promise<void> {
  await createQcow2(state, bytes);
  const { node } = await openQcow2(state);
  const sector = IOVector.of(new Uint8Array(512).fill(7));
  for (let i = 0; i < tables; i++) {
    const at = Math.floor((i * bytes) / tables / 512) * 512;
    expect(await node.pwritev(at, sector)).toBe(OK);
  }
  await node.close();
}

/** Requests and bytes of the file that opening the image in `state` takes. */
async function openingCost(state: DriverState): Promise<{ requests: number; bytes: number }> {
  const { node, file } = await openQcow2(state);
  const { rdOperations, rdBytes } = file.stats;
  await node.close();
  return { requests: rdOperations, bytes: rdBytes };
}

describe('opening a disk of a terabyte', () => {
  it('reads as often as for a gigabyte, and only the longer L1 table more', async () => {
    const small = await file();
    const large = await file();
    await image(small, GIB, 2);
    await image(large, TIB, 16);
    const [one, other] = [await openingCost(small), await openingCost(large)];
    expect(other.requests).toBe(one.requests);
    expect(other.bytes - one.bytes).toBe((2048 - 2) * 8); // that is 16 KiB
  });

  it('keeps one word for each L2 table: 16 KiB of them, with clusters of 4 KiB 4 MiB', async () => {
    for (const [cluster, table] of [
      [64 * KIB, 16 * KIB],
      [4 * KIB, 4 * MIB],
    ] as const) {
      const state = await file();
      await createQcow2(state, TIB, { cluster_size: cluster });
      const { node } = await openQcow2(state);
      expect(node.state.counters!()).toMatchObject({
        tableMemory: table + cluster,
        cacheMemory: 0,
      });
      await node.close();
    }
  });

  it('is one request of one byte over http', async () => {
    const server = new TerabyteServer();
    await server.open();
    expect(server.ranges).toEqual(['bytes=0-0']);
  });
});

/**
 * Reads pages at random: one of four anywhere, the others too or, with `hot`, in the first 16 MiB. `each`
 * looks on now and then.
 */
async function readAll(
  read: (offset: number, qiov: IOVector) => number | Promise<number>,
  each: () => void,
  { reads = READS, hot = false } = {},
): Promise<void> {
  const prng = new Prng(SEED);
  const pages = Array.from({ length: 64 }, () => IOVector.of(new Uint8Array(PAGE)));
  for (let done = 0; done < reads; done += pages.length) {
    const rets = pages.map((page, i) => {
      if (hot && i % 4 !== 0) return read(prng.below((16 * MIB) / PAGE) * PAGE, page);
      return read(prng.below(TIB / PAGE) * PAGE, page);
    });
    for (const ret of rets) if ((await ret) !== OK) throw new Error(`a read answered ${await ret}`);
    if (done % (64 * 100) === 0) each();
  }
}

describe('reading a terabyte at random, 100,000 times', () => {
  it('keeps 8 MiB of qcow2 tables at most', async () => {
    const state = await file();
    await image(state, TIB, 2048);
    const { node } = await openQcow2(state);
    const counters = (): Record<string, number> => node.state.counters!();
    const read = (offset: number, page: IOVector): number | Promise<number> =>
      node.preadv(offset, page);
    const within = (): void => expect(counters()['cacheMemory']).toBeLessThanOrEqual(8 * MIB);
    await readAll(read, within, { reads: READS / 10 });
    const before = heap();
    await readAll(read, within);
    expect(heap() - before).toBeLessThan(MIB);
    const { l2Misses, l2Evictions } = counters();
    expect(l2Misses).toBeGreaterThan(READS / 2);
    expect(l2Misses! - l2Evictions!).toBeLessThanOrEqual((8 * MIB) / (4 * KIB));
    await node.close();
  });

  it('keeps 32 MiB of an http image at most', async () => {
    const server = new TerabyteServer();
    const state = await server.open();
    const read = (offset: number, page: IOVector): number | Promise<number> =>
      state.preadv(offset, page, 0);
    const within = (): void =>
      expect(state.counters!()['cacheMemory']).toBeLessThanOrEqual(32 * MIB);
    await readAll(read, within, { reads: READS / 10, hot: true });
    const before = heap();
    await readAll(read, within, { hot: true });
    expect(heap() - before).toBeLessThan(MIB);
    expect(state.counters!()).toMatchObject({ cacheMemory: 32 * MIB, inFlight: 0 });
    expect(server.requests).toBeGreaterThan(READS / 4);
    await state.close();
  });
});

describe('a terabyte of qcow2 in IndexedDB', () => {
  it('opens as a gigabyte does, and keeps to the budgets of both', async () => {
    const idb = new IdbDouble();
    const driver = idbDriver(idb);
    const context = openContext({ aioContext: fastContext(1) });
    const open = async (database: string): Promise<DriverState> => {
      const options = { database, create: true, 'cache-size': '4M' };
      return driver.open(context, driver.parseOptions(options));
    };
    const transactions: number[] = [];
    for (const [database, bytes, tables] of [
      ['small', GIB, 2],
      ['large', TIB, 256],
    ] as const) {
      const made = await open(database);
      await image(made, bytes, tables);
      await made.close();
      const state = await open(database);
      idb.transactions.length = 0;
      const { node } = await openQcow2(state);
      transactions.push(idb.transactions.length);
      const within = (): void => {
        expect(state.counters!()['cacheMemory']).toBeLessThanOrEqual(4 * MIB);
        expect(node.state.counters!()['cacheMemory']).toBeLessThanOrEqual(8 * MIB);
      };
      if (bytes === TIB)
        await readAll((at, page) => node.preadv(at, page), within, { reads: 2000 });
      await node.close();
    }
    expect(transactions[1]).toBe(transactions[0]);
  });
});

/** A terabyte of sevens, by ranges, as far as the driver looks at answers: Responses cost too much here. */
class TerabyteServer {
  requests = 0;
  ranges: string[] = [];
  readonly #bytes = new Uint8Array(MIB).fill(7);

  open(): Promise<DriverState> {
    const driver = httpDriver((_url, init) => this.#answer(init));
    const context = openContext({ readOnly: true, aioContext: fastContext(1) });
    return driver.open(context, driver.parseOptions({ url: 'http://127.0.0.1/tib.img' }));
  }

  async #answer(init: RequestInit | undefined): Promise<Response> {
    const { Range: range } = init!.headers as Record<string, string>;
    this.requests += 1;
    if (this.ranges.length < 10) this.ranges.push(range!);
    const [first, last] = range!.slice('bytes='.length).split('-').map(Number);
    const headers: Record<string, string> = {
      'content-range': `bytes ${first}-${last}/${TIB}`,
      etag: '"t"',
    };
    const body = [this.#bytes.subarray(0, last! - first! + 1)];
    const reader = {
      read: async () => ({ done: body.length === 0, value: body.pop() }),
    };
    return {
      status: 206,
      type: 'basic',
      headers: { get: (name: string) => headers[name.toLowerCase()] ?? null },
      body: { getReader: () => reader },
    } as unknown as Response;
  }
}
