// What the conformance list does not ask of idb: how many transactions, what a power cut leaves, lost
// connections, a full disk.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { EIO, ENOSPC, OK } from '../../base/ret.ts';
import type { Ret } from '../../base/ret.ts';
import { Prng } from '../../testing/prng.ts';
import { IdbDouble } from '../../testing/idb-double.ts';
import { fastContext } from '../../testing/fast-context.ts';
import {
  K,
  RECORD,
  filled,
  fresh,
  open,
  read,
  same,
  twice,
  write,
} from '../../testing/idb-disk.ts';
import { openContext } from '../../testing/open-context.ts';

const SEED = 20_261_122;

describe('idb, transactions', () => {
  it('reads all misses of a turn in one, each record once, and answers at once from then on', async () => {
    const idb = new IdbDouble();
    const state = await open(idb);
    idb.transactions.length = 0;
    const reads = Array.from({ length: 40 }, (_, i) => read(state, (i % 32) * RECORD + i, 512));
    await Promise.all(reads);
    expect(idb.transactions).toHaveLength(1);
    expect(idb.transactions[0]!.match(/get/g)).toHaveLength(32);
    for (let i = 0; i < 32; i++) {
      expect(state.preadv(i * RECORD, IOVector.of(new Uint8Array(RECORD)), 0)).toBe(OK);
    }
    expect(idb.transactions).toHaveLength(1);
    await Promise.all(Array.from({ length: 130 }, (_, i) => read(state, (100 + i) * RECORD, 1)));
    expect(idb.transactions.slice(1).map((said) => said.match(/get/g)!.length)).toEqual([
      64, 64, 2,
    ]);
    await state.close();
  });

  it('writes nothing until a flush, which is one strict transaction with the header', async () => {
    const idb = new IdbDouble();
    const state = await open(idb);
    // Nothing is to be stored but the header made with the database.
    expect(state.flush!()).toBe(OK);
    idb.transactions.length = 0;
    for (let i = 0; i < 100; i++) expect(write(state, i * RECORD, filled(RECORD, i))).toBe(OK);
    expect(state.pwriteZeroes!(3 * RECORD, 2 * RECORD, 0)).toBe(OK);
    expect(idb.transactions).toHaveLength(0);
    expect(await state.flush!()).toBe(OK);
    expect(idb.transactions).toHaveLength(1);
    const [said] = idb.transactions;
    expect(said).toMatch(/^readwrite strict delete 3-4, put 0, /);
    expect(said).toMatch(/put 99, put header$/);
    expect(said!.match(/put/g)).toHaveLength(98 + 1);
    expect(state.info!()).toMatchObject({ generation: 1 });
    expect(state.flush!()).toBe(OK);
    await state.close();
    expect(idb.lockManager.held).toEqual([]);
    expect(idb.openConnections).toBe(0);
  });

  it('stores in batches of 64 between flushes, within its memory', async () => {
    const idb = new IdbDouble();
    const state = await open(idb, { ...fresh, 'cache-size': '4M' });
    idb.transactions.length = 0;
    const data = new Prng(SEED).bytes(32 * 1024 * K);
    const writes: Promise<Ret>[] = [];
    for (let at = 0; at < data.length; at += 256 * K) {
      writes.push(Promise.resolve(write(state, at, data.subarray(at, at + 256 * K))));
    }
    expect((await Promise.all(writes)).every((ret) => ret === OK)).toBe(true);
    const { cacheMemory, dirtyRecords } = state.counters!();
    expect(cacheMemory).toBeLessThanOrEqual(4 * 1024 * K);
    expect(dirtyRecords).toBeLessThanOrEqual(64);
    const relaxed = idb.transactions.filter((said) => said.startsWith('readwrite relaxed'));
    expect(relaxed.length).toBeGreaterThan(10);
    expect(Math.max(...relaxed.map((said) => said.match(/put \d/g)!.length))).toBe(64);
    expect(await state.flush!()).toBe(OK);
    expect(same(await read(state, 0, 1024 * K), data.subarray(0, 1024 * K))).toBe(true);
    await state.close();
    const again = await open(idb, { database: 'd', 'cache-size': '4M' });
    for (let at = 0; at < data.length; at += 1024 * K) {
      expect(same(await read(again, at, 1024 * K), data.subarray(at, at + 1024 * K))).toBe(true);
    }
    await again.close();
  });

  it('reads for many small writes in few transactions, however many wait for room', async () => {
    const idb = new IdbDouble();
    const state = await open(idb, { ...fresh, 'cache-size': '4M' });
    idb.transactions.length = 0;
    // One record each: 200 of them where 64 may be dirty.
    const writes = Array.from({ length: 200 }, async (_, i) =>
      write(state, i * RECORD + 7, filled(9, i)),
    );
    expect((await Promise.all(writes)).every((ret) => ret === OK)).toBe(true);
    expect(await state.flush!()).toBe(OK);
    const reads = idb.transactions.filter((said) => said.includes('get'));
    expect(reads.length).toBeLessThanOrEqual(8);
    expect(state.counters!()['recordsRead']).toBe(200);
    for (let i = 0; i < 200; i++) {
      expect(same(await read(state, i * RECORD + 7, 9), filled(9, i))).toBe(true);
    }
    await state.close();
  });

  it('does not delete once more what is written while a deletion is under way', async () => {
    const idb = new IdbDouble();
    const state = await open(idb);
    await state.pwriteZeroes!(10 * RECORD, 4 * RECORD, 0);
    const flushing = state.flush!();
    // The transaction is made in a moment; this one is stored by it or after it.
    expect(await write(state, 11 * RECORD, filled(RECORD, 7))).toBe(OK);
    await Promise.resolve();
    await Promise.resolve();
    expect(await state.pwriteZeroes!(14 * RECORD, 2 * RECORD, 0)).toBe(OK);
    expect(await flushing).toBe(OK);
    expect(await state.flush!()).toBe(OK);
    await state.close();
    const again = await open(idb, { database: 'd' });
    expect(same(await read(again, 11 * RECORD, RECORD), filled(RECORD, 7))).toBe(true);
    await again.close();
  });

  it('discards a terabyte by one range', async () => {
    const idb = new IdbDouble();
    const state = await open(idb, { ...fresh, size: '1T' });
    expect(await write(state, 2 ** 39, filled(RECORD, 1))).toBe(OK);
    expect(await state.flush!()).toBe(OK);
    expect(state.pdiscard!(0, 2 ** 40)).toBe(OK);
    expect(same(await read(state, 2 ** 39, 512), filled(512, 0))).toBe(true);
    expect(await state.flush!()).toBe(OK);
    expect(idb.databases.get('d')!.live.size).toBe(1);
    // Many ranges apart are deleted as they come, not collected for ever.
    for (let i = 0; i < 200; i++) expect(await state.pdiscard!(2 * i * RECORD, RECORD)).toBe(OK);
    await state.close();
  });

  it('shrinks in one strict transaction, or not at all', async () => {
    const idb = new IdbDouble();
    const state = await open(idb);
    await write(state, 0, filled(8 * RECORD, 4));
    idb.failures.push(...twice({ kind: 'aborts', name: 'UnknownError' }));
    expect(await state.truncate!(100)).toBe(-EIO);
    expect(state.length).toBe(64 * 1024 * K);
    idb.failures.length = 0;
    expect(await state.flush!()).toBe(OK);
    idb.transactions.length = 0;
    expect(await state.truncate!(RECORD + 100)).toBe(OK);
    expect(idb.transactions).toEqual([
      `readwrite strict delete 2-${Number.MAX_SAFE_INTEGER}, put 1, put header`,
    ]);
    expect(await state.truncate!(8 * RECORD)).toBe(OK);
    const expected = filled(8 * RECORD, 0).fill(4, 0, RECORD + 100);
    expect(same(await read(state, 0, 8 * RECORD), expected)).toBe(true);
    await state.close();
  });
});

describe('idb, failures', () => {
  it.each([SEED, SEED + 1, SEED + 2])(
    'has all of the last flush after a power cut, seed %i',
    async (seed) => {
      const prng = new Prng(seed);
      const idb = new IdbDouble();
      let state = await open(idb, { ...fresh, size: '4M', 'cache-size': '4M' });
      const model = new Uint8Array(4 * 1024 * K);
      for (let round = 0; round < 8; round++) {
        for (let i = 0; i < 20; i++) {
          const offset = prng.below(model.length - 100_000);
          const data = prng.bytes(1 + prng.below(100_000));
          expect(await write(state, offset, data)).toBe(OK);
          model.set(data, offset);
        }
        expect(await state.flush!()).toBe(OK);
        // Not flushed, and too little to be stored before.
        await write(state, prng.below(model.length - 512), prng.bytes(512));
        idb.powerCut();
        await state.close();
        state = await open(idb, { database: 'd', 'cache-size': '4M' });
        for (let at = 0; at < model.length; at += 1024 * K) {
          const there = await read(state, at, 1024 * K);
          expect(same(there, model.subarray(at, at + 1024 * K)), `round ${round} at ${at}`).toBe(
            true,
          );
        }
      }
      await state.close();
    },
  );

  it('keeps everything in memory when storage is full, and stores it when there is room', async () => {
    const idb = new IdbDouble();
    const context = openContext();
    const state = await open(idb, { ...fresh, 'cache-size': '4M' }, context);
    expect(await write(state, 0, filled(4 * RECORD, 1))).toBe(OK);
    expect(await state.flush!()).toBe(OK);
    idb.quota = 6 * RECORD;
    expect(await write(state, 2 * RECORD, filled(16 * RECORD, 2))).toBe(OK);
    expect(await state.flush!()).toBe(-ENOSPC);
    expect(await state.flush!()).toBe(-ENOSPC);
    expect(context.notices).toEqual([expect.stringMatching(/no storage left for .*'d'/)]);
    expect(same(await read(state, 2 * RECORD, RECORD), filled(RECORD, 2))).toBe(true);
    // What was flushed is as it was: no part of the failed transaction is stored.
    const record = idb.databases.get('d')!.live.get(2) as Uint8Array;
    expect(Buffer.compare(record, filled(RECORD, 1))).toBe(0);
    // No more fits into memory: the guest learns it, now.
    const rets: Ret[] = [];
    for (let i = 0; i < 60; i++)
      rets.push(await write(state, (100 + i) * RECORD, filled(RECORD, 3)));
    expect(rets.slice(0, 48).every((ret) => ret === OK)).toBe(true);
    expect(rets.slice(48).every((ret) => ret === -ENOSPC)).toBe(true);
    idb.quota = Infinity;
    expect(await state.flush!()).toBe(OK);
    await state.close();
    const again = await open(idb, { database: 'd' });
    expect(same(await read(again, 2 * RECORD, 16 * RECORD), filled(16 * RECORD, 2))).toBe(true);
    await again.close();
  });

  it.each(['close', 'InvalidStateError', 'AbortError', 'versionchange'])(
    'opens a lost connection again, once, and goes on: %s',
    async (how) => {
      const idb = new IdbDouble();
      const context = openContext();
      const state = await open(idb, fresh, context);
      const lose = (): void => {
        if (how === 'close') idb.loseConnections();
        else if (how === 'versionchange') idb.versionChange();
        else idb.failures.push({ kind: how === 'AbortError' ? 'aborts' : 'throws', name: how });
      };
      expect(await write(state, 0, filled(RECORD, 5))).toBe(OK);
      lose();
      expect(await state.flush!()).toBe(OK);
      lose();
      expect(same(await read(state, 40 * RECORD, 512), filled(512, 0))).toBe(true);
      expect(state.counters!()['reopened']).toBe(2);
      expect(context.notices).toEqual([]);
      const stored = idb.databases.get('d')!.live.get(0) as Uint8Array;
      expect(Buffer.compare(stored, filled(RECORD, 5))).toBe(0);
      expect(idb.openConnections).toBe(1);
      await state.close();
    },
  );

  it('is -EIO with a notice when opening again does not help, never zeroes', async () => {
    const idb = new IdbDouble();
    const context = openContext();
    const state = await open(idb, fresh, context);
    idb.failures.push(...twice({ kind: 'throws', name: 'InvalidStateError' }));
    expect(await read(state, 0, 512)).toBe(-EIO);
    expect(context.notices).toEqual([expect.stringMatching(/'d' is out of reach/)]);
    // A read transaction that aborts twice.
    idb.failures.push(...twice({ kind: 'aborts', name: 'AbortError' }));
    expect(await read(state, 0, 512)).toBe(-EIO);
    expect(same(await read(state, 0, 512), filled(512, 0))).toBe(true);
    await state.close();
  });

  it('fails for good when the database came back empty, and does not make it anew', async () => {
    const idb = new IdbDouble();
    const context = openContext();
    const state = await open(idb, fresh, context);
    expect(await write(state, 0, filled(512, 1))).toBe(OK);
    idb.loseConnections();
    idb.databases.clear();
    expect(await state.flush!()).toBe(-EIO);
    expect(context.notices).toEqual([expect.stringMatching(/no idb database 'd'.*was in use/)]);
    expect(state.preadv(0, IOVector.of(new Uint8Array(512)), 0)).toBe(-EIO);
    expect(idb.databases.size).toBe(0);
    await state.close();
    // Another disk of the same name is not taken for this one either.
    const first = await open(idb, fresh, openContext({ aioContext: fastContext(1) }));
    idb.loseConnections();
    const header = idb.databases.get('d')!.live.get('header') as object;
    idb.databases.get('d')!.live.set('header', { ...header, id: 'another' });
    expect(await read(first, 0, 512)).toBe(-EIO);
    await first.close();
    expect(idb.openConnections).toBe(0);
  });

  it.each<[string, unknown]>([
    ['of another size', new Uint8Array(512)],
    ['of another kind', 'text'],
  ])('refuses a record %s', async (_name, value) => {
    const idb = new IdbDouble();
    const state = await open(idb);
    idb.databases.get('d')!.live.set(3, value);
    expect(await read(state, 3 * RECORD, 512)).toBe(-EIO);
    expect(state.info!()['lastError']).toMatch(/record 3/);
    await state.close();
  });
});
