// Where disks of the opfs driver come to lie, through browsers that lack sync access handles, get them
// and lose them: never an empty disk in the place of one.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { OK } from '../../base/ret.ts';
import { fastContext } from '../../testing/fast-context.ts';
import { IdbDouble } from '../../testing/idb-double.ts';
import { openContext } from '../../testing/open-context.ts';
import type { TestOpenContext } from '../../testing/open-context.ts';
import { OpfsDouble, domError } from '../../testing/opfs-double.ts';
import type { BlockDriver, DriverState } from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { idbDriver } from './idb.ts';
import { opfsDriver } from './opfs.ts';
import { withFallback } from './opfs-fallback.ts';
import type { FallbackOptions } from './opfs-fallback.ts';

const PATH = 'disks/a.img';
const DATABASE = `opfs:${PATH}`;
const fresh = { path: PATH, create: true, size: '64K' };

/** One origin's storage; what the browser has of it changes. */
class Origin {
  readonly opfs = new OpfsDouble();
  readonly idb = new IdbDouble();

  get driver(): BlockDriver<FallbackOptions> {
    return withFallback(opfsDriver(this.opfs), this.opfs, {
      has: (database) => this.idb.has(database),
      load: async () => idbDriver(this.idb),
    });
  }

  open(
    raw: Record<string, unknown>,
    context: TestOpenContext = openContext({ aioContext: fastContext(20) }),
  ): Promise<DriverState> {
    return this.driver.open(context, this.driver.parseOptions(raw));
  }

  async create(raw: Record<string, unknown> = { path: PATH }): Promise<void> {
    const context = { aioContext: fastContext(20), signal: undefined, file: undefined };
    await this.driver.create!(context, 64 * 1024, raw);
    await Promise.resolve();
  }

  /** Opens, writes `value`, closes. Answers the notices about the place; others are about speed. */
  async write(value: number, raw: Record<string, unknown> = fresh): Promise<string[]> {
    const context = openContext({ aioContext: fastContext(20) });
    const state = await this.open(raw, context);
    expect(await state.pwritev!(0, IOVector.of(new Uint8Array(512).fill(value)), 0)).toBe(OK);
    expect(await state.flush!()).toBe(OK);
    await state.close();
    return context.notices.filter((notice) => notice.includes('IndexedDB'));
  }

  /** The disk's first byte. */
  async read(raw: Record<string, unknown> = { path: PATH }): Promise<number> {
    const state = await this.open(raw);
    const target = new Uint8Array(512);
    expect(await state.preadv(0, IOVector.of(target), 0)).toBe(OK);
    await state.close();
    return target[0]!;
  }

  /** Where there is something. */
  get places(): string[] {
    const files = [...this.opfs.files].map(([path, { bytes }]) => `${path} ${bytes.length}`);
    return [...files, ...this.idb.databases.keys()];
  }

  async expectReleased(): Promise<void> {
    await Promise.resolve();
    expect(this.opfs.openHandles).toBe(0);
    expect(this.idb.openConnections).toBe(0);
    expect([...this.opfs.lockManager!.held, ...this.idb.lockManager.held]).toEqual([]);
  }
}

describe('opfs with IndexedDB to fall back on', () => {
  it('lies in OPFS where it can, and says nothing of another place', async () => {
    const origin = new Origin();
    expect(await origin.write(1)).toEqual([]);
    expect(origin.places).toEqual([`${PATH} 65536`]);
    await origin.expectReleased();
  });

  it.each(['missing', 'refused'] as const)(
    'goes to IndexedDB where sync handles are %s, and stays when the browser gets them',
    async (syncHandles) => {
      const origin = new Origin();
      origin.opfs.syncHandles = syncHandles;
      const [made, ...more] = await origin.write(1);
      expect(made).toMatch(/no synchronous access.*'disks\/a\.img' was made in IndexedDB/);
      expect(more).toEqual([]);
      expect(origin.places).toEqual([DATABASE]);
      expect(await origin.read()).toBe(1);

      origin.opfs.syncHandles = 'there';
      const [found] = await origin.write(2, { path: PATH });
      expect(found).toMatch(/is in IndexedDB, database 'opfs:disks\/a\.img'.*stays there/);
      await origin.write(3);
      expect(await origin.read()).toBe(3);
      expect(origin.places).toEqual([DATABASE]);
      await origin.expectReleased();
    },
  );

  it('puts no empty disk in the place of one in OPFS when the browser loses sync handles', async () => {
    const origin = new Origin();
    await origin.write(1);
    origin.opfs.syncHandles = 'missing';
    const refusal = { code: 'ENOTSUP', message: expect.stringMatching(/holds data/) as string };
    await expect(origin.open({ path: PATH })).rejects.toMatchObject(refusal);
    await expect(origin.open(fresh)).rejects.toMatchObject(refusal);
    await expect(origin.create()).rejects.toMatchObject(refusal);
    expect(origin.places).toEqual([`${PATH} 65536`]);
    origin.opfs.syncHandles = 'there';
    expect(await origin.read()).toBe(1);
    await origin.expectReleased();
  });

  it('refuses to choose between two disks, and opens each by name', async () => {
    const origin = new Origin();
    origin.opfs.syncHandles = 'refused';
    await origin.write(1);
    origin.opfs.syncHandles = 'there';
    await origin.write(2, { ...fresh, fallback: false });
    const refusal = { code: 'EEXIST', message: expect.stringMatching(/two disks/) as string };
    await expect(origin.open({ path: PATH })).rejects.toMatchObject(refusal);
    await expect(origin.create()).rejects.toMatchObject(refusal);
    expect(await origin.read({ path: PATH, fallback: false })).toBe(2);
    origin.opfs.files.clear();
    expect(await origin.read()).toBe(1);
    // A file without data is no disk.
    await (await origin.open({ path: PATH, create: true, fallback: false })).close();
    expect(origin.places).toEqual([`${PATH} 0`, DATABASE]);
    expect(await origin.read()).toBe(1);
    await origin.expectReleased();
  });

  it('creates where the data is, and else in the best place there is', async () => {
    const origin = new Origin();
    origin.opfs.syncHandles = 'missing';
    await origin.create();
    expect(origin.places).toEqual([DATABASE]);
    await origin.write(1);
    origin.opfs.syncHandles = 'there';
    await origin.create();
    expect(await origin.read()).toBe(0);
    expect(origin.places).toEqual([DATABASE]);
    await origin.create({ path: 'b.img', create: true });
    expect(origin.places).toEqual(['b.img 65536', DATABASE]);
    await origin.expectReleased();
  });

  it('removes the disk from where it is', async () => {
    const origin = new Origin();
    const remove = (raw: Record<string, unknown> = { path: PATH }): Promise<void> =>
      origin.driver.remove!({ aioContext: fastContext(20), signal: undefined }, raw);
    origin.opfs.syncHandles = 'refused';
    await origin.write(1);
    await remove();
    await expect(remove()).rejects.toMatchObject({ code: 'ENOENT' });
    await origin.write(1);
    origin.opfs.syncHandles = 'there';
    await origin.write(2, { ...fresh, fallback: false });
    await expect(remove()).rejects.toMatchObject({ code: 'EEXIST' });
    await remove({ path: PATH, fallback: false });
    expect(origin.places).toEqual([DATABASE]);
    await remove();
    expect(origin.places).toEqual([]);
    await origin.expectReleased();
  });

  it('is made again after it was removed, where the browser takes its path for open', async () => {
    const origin = new Origin();
    origin.opfs.syncHandles = 'refused';
    await expect(origin.open({ ...fresh, fallback: false })).rejects.toMatchObject({
      code: 'ENOTSUP',
    });
    for (const value of [1, 2]) {
      await origin.write(value);
      expect(origin.places).toEqual([DATABASE]);
      await origin.driver.remove!(
        { aioContext: fastContext(20), signal: undefined },
        { path: PATH },
      );
    }
    await origin.expectReleased();
  });

  it('makes nothing where nothing was to be made', async () => {
    const origin = new Origin();
    for (const syncHandles of ['there', 'missing', 'refused'] as const) {
      origin.opfs.syncHandles = syncHandles;
      await expect(origin.open({ path: PATH })).rejects.toMatchObject({ code: 'ENOENT' });
    }
    expect(origin.places).toEqual([]);
    await origin.expectReleased();
  });

  it("refuses as without it where 'fallback' is false", async () => {
    const origin = new Origin();
    origin.opfs.syncHandles = 'refused';
    const opening = origin.open({ ...fresh, fallback: false });
    await expect(opening).rejects.toMatchObject({ code: 'ENOTSUP' });
    const creating = origin.create({ path: PATH, fallback: false });
    await expect(creating).rejects.toMatchObject({ code: 'ENOTSUP' });
    expect(origin.idb.databases.size).toBe(0);
    expect(() => origin.driver.parseOptions({ path: PATH, fallback: 'x' })).toThrow(/fallback/);
  });

  it('takes a window that is denied OPFS for one without, and no other failure', async () => {
    const denied = new Origin();
    denied.opfs.root = () => Promise.reject(domError('SecurityError'));
    expect(await denied.write(1)).toHaveLength(1);
    expect(denied.places).toEqual([DATABASE]);

    const failing = new Origin();
    failing.opfs.root = () => Promise.reject(domError('UnknownError'));
    await expect(failing.open(fresh)).rejects.toMatchObject({ code: 'EIO' });
    expect(failing.places).toEqual([]);

    // Where nobody can tell what is in IndexedDB, nothing is made beside it.
    const untold = new Origin();
    untold.idb.failures.push({ kind: 'has', name: 'UnknownError' });
    await expect(untold.open(fresh)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/cannot tell/) as string,
    });
    expect(untold.places).toEqual([]);
    expect(await untold.write(1)).toEqual([]);
  });

  it('says what OPFS lacks where there is no IndexedDB either', async () => {
    const origin = new Origin();
    origin.opfs.syncHandles = 'missing';
    origin.idb.factory = () => {
      throw new BlockError('ENOTSUP', 'idb: there is no IndexedDB here');
    };
    await expect(origin.open(fresh)).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringMatching(/createSyncAccessHandle/) as string,
    });
    await origin.expectReleased();
  });

  it('keeps a second tab away in either place', async () => {
    for (const syncHandles of ['there', 'missing'] as const) {
      const origin = new Origin();
      origin.opfs.syncHandles = syncHandles;
      const first = await origin.open(fresh);
      await expect(origin.open({ path: PATH })).rejects.toMatchObject({ code: 'EBUSY' });
      await first.close();
      expect(await origin.read()).toBe(0);
      await origin.expectReleased();
    }
  });
});
