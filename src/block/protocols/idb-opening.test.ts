// How disks of idb are opened, made and refused.

import { describe, expect, it } from 'vitest';
import { EROFS, OK } from '../../base/ret.ts';
import { fastContext } from '../../testing/fast-context.ts';
import { IdbDouble } from '../../testing/idb-double.ts';
import { K, RECORD, filled, fresh, open, read, same, write } from '../../testing/idb-disk.ts';
import { openContext } from '../../testing/open-context.ts';
import type { TestOpenContext } from '../../testing/open-context.ts';
import type { CreateContext } from '../block-driver.ts';
import { driver as browserDriver, idbDriver } from './idb.ts';

describe('idb, opening', () => {
  it.each<[string, unknown, string, RegExp]>([
    ['no header', undefined, 'ESTALE', /disk is gone.*create/],
    ['a strange header', 7, 'EINVAL', /something else/],
    ['a later version', { version: 2 }, 'EINVAL', /version 2/],
    ['a record size', { recordSize: 5000 }, 'EINVAL', /record size 5000/],
    ['a length', { length: -1 }, 'EINVAL', /length -1/],
    ['a generation', { generation: 'x' }, 'EINVAL', /generation x/],
  ])('refuses a database with %s, and holds nothing', async (_name, change, code, message) => {
    const idb = new IdbDouble();
    await (await open(idb)).close();
    const map = idb.databases.get('d')!.live;
    const good = map.get('header') as object;
    if (change === undefined) map.delete('header');
    else map.set('header', typeof change === 'object' ? { ...good, ...change } : change);
    await expect(open(idb, { database: 'd' })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    expect(idb.lockManager.held).toEqual([]);
    expect(idb.openConnections).toBe(0);
  });

  it('lets readers share, and no writer beside them', async () => {
    const idb = new IdbDouble();
    await (await open(idb)).close();
    const reader = (): TestOpenContext => openContext({ readOnly: true });
    const readers = [
      await open(idb, { database: 'd' }, reader()),
      await open(idb, { database: 'd' }, reader()),
    ];
    const writer = open(idb, { database: 'd' }, openContext({ aioContext: fastContext(20) }));
    await expect(writer).rejects.toMatchObject({ code: 'EBUSY' });
    for (const state of readers) await state.close();
    await (await open(idb, { database: 'd' })).close();
    expect(idb.lockManager.held).toEqual([]);
  });

  it('refuses a disk that is not there without making its database', async () => {
    const idb = new IdbDouble();
    await expect(open(idb, { name: 'x' })).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringMatching(/no idb database 'x'; 'create' makes it/) as string,
    });
    expect(idb.databases.size).toBe(0);
    idb.failures.push({ kind: 'open', name: 'VersionError' });
    await expect(open(idb)).rejects.toMatchObject({ code: 'EINVAL' });
    idb.failures.push({ kind: 'open', name: 'QuotaExceededError' });
    await expect(open(idb)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(idb.lockManager.held).toEqual([]);
  });

  it('makes a disk in an emptied database when told to, and keeps one that is there', async () => {
    const idb = new IdbDouble();
    const state = await open(idb);
    await write(state, 0, filled(512, 1));
    await state.flush!();
    await state.close();
    const context = openContext();
    const again = await open(idb, { ...fresh, size: '1M', 'record-size': '64K' }, context);
    expect(again.length).toBe(64 * 1024 * K);
    expect(context.notices).toEqual([expect.stringMatching(/records of 32768 bytes/)]);
    expect(same(await read(again, 0, 512), filled(512, 1))).toBe(true);
    await again.close();
    idb.databases.get('d')!.live.delete('header');
    const anew = await open(idb, { ...fresh, size: '1M' });
    expect(anew.length).toBe(1024 * K);
    expect(same(await read(anew, 0, 512), filled(512, 0))).toBe(true);
    await anew.close();
  });

  it('says EBUSY when another tab has the disk, and lets several read', async () => {
    const idb = new IdbDouble();
    const first = await open(idb);
    const aioContext = fastContext(20);
    await expect(open(idb, { database: 'd' }, openContext({ aioContext }))).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringMatching(/idb database 'd' is in use: another tab/) as string,
    });
    await first.close();
    const readers = await Promise.all(
      [1, 2].map(() => open(idb, { database: 'd' }, openContext({ readOnly: true }))),
    );
    idb.transactions.length = 0;
    for (const reader of readers) {
      expect(write(reader, 0, filled(512, 1))).toBe(-EROFS);
      expect(reader.pwriteZeroes!(0, RECORD, 0)).toBe(-EROFS);
      expect(await reader.truncate!(0)).toBe(-EROFS);
      expect(reader.flush!()).toBe(OK);
      await reader.close();
    }
    expect(idb.transactions).toEqual([]);
    const creating = open(idb, fresh, openContext({ readOnly: true }));
    await expect(creating).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('makes an image anew for createImage', async () => {
    const idb = new IdbDouble();
    const state = await open(idb);
    await write(state, 0, filled(512, 9));
    await state.flush!();
    await state.close();
    const aioContext = fastContext(20);
    const context: CreateContext = { aioContext, signal: undefined, file: undefined };
    await idbDriver(idb).create!(context, 4096, { name: 'd', 'record-size': '4K' });
    expect([...idb.databases.get('d')!.live.keys()]).toEqual(['header']);
    const again = await open(idb, { database: 'd' });
    expect(again.length).toBe(4096);
    expect(again.info!()).toMatchObject({ recordSize: 4096, generation: 0, lock: 'web-lock' });
    await again.close();
    expect(idb.lockManager.held).toEqual([]);
  });

  it.each([
    [{}, /'database' must be given/],
    [{ database: 'a', name: 'b' }, /'name'/],
    [{ database: 'a', size: 512 }, /'create'/],
    [{ database: 'a', 'record-size': 5000 }, /power of two/],
    [{ database: 'a', 'record-size': '2M' }, /record-size/],
    [{ database: 'a', 'cache-size': 0 }, /cache-size/],
    [{ database: 'a', x: 1 }, /unknown option 'x'/],
  ])('refuses the options %o', (raw, message) => {
    expect(() => browserDriver.parseOptions(raw)).toThrow(message);
  });

  it('says what is missing outside a browser', async () => {
    const options = browserDriver.parseOptions({ database: 'a' });
    await expect(browserDriver.open(openContext(), options)).rejects.toMatchObject({
      code: 'ENOTSUP',
    });
  });
});
