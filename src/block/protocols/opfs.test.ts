// The opfs driver against a double of the browser: opening, holding, letting go.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { EIO, ENOSPC, EROFS, OK } from '../../base/ret.ts';
import { fastContext } from '../../testing/fast-context.ts';
import { expectReleased, fresh, open } from '../../testing/opfs-disk.ts';
import { openContext } from '../../testing/open-context.ts';
import { OpfsDouble } from '../../testing/opfs-double.ts';
import { testContext } from '../../testing/test-context.ts';
import type { CreateContext } from '../block-driver.ts';
import { driver as browserDriver, opfsDriver } from './opfs.ts';

const K = 1024;

describe('opfs', () => {
  it('creates a file with its directories, keeps it, and lets go on close', async () => {
    const opfs = new OpfsDouble();
    const state = await open(opfs, fresh);
    expect(state.length).toBe(64 * K);
    expect(opfs.lockManager!.held).toEqual(['diskplane:opfs:disks/a.img']);
    expect(state.pwritev!(100, IOVector.of(Uint8Array.of(1, 2, 3)), 0)).toBe(OK);
    expect(state.flush!()).toBe(OK);
    await state.close();
    await state.close();
    await Promise.resolve();
    expectReleased(opfs);

    const again = await open(opfs, { path: '/disks/a.img' });
    const target = new Uint8Array(5);
    expect(again.preadv(99, IOVector.of(target), 0)).toBe(OK);
    expect([...target]).toEqual([0, 1, 2, 3, 0]);
    expect(again.length).toBe(64 * K);
    await again.close();
  });

  it('closes at once, before its promise settles', async () => {
    const opfs = new OpfsDouble();
    const state = await open(opfs, fresh);
    const closing = state.close();
    expect(opfs.openHandles).toBe(0);
    await closing;
    expect(state.preadv(0, IOVector.of(new Uint8Array(1)), 0)).toBe(-EIO);
  });

  it('keeps the length of a file that has one', async () => {
    const opfs = new OpfsDouble();
    await (await open(opfs, fresh)).close();
    const again = await open(opfs, { ...fresh, size: '1M' });
    expect(again.length).toBe(64 * K);
    await again.close();
  });

  it.each<[string, Record<string, unknown>, string, RegExp]>([
    ['a missing file', { path: 'b.img' }, 'ENOENT', /'b\.img'.*create/],
    ['a missing directory', { path: 'x/b.img' }, 'ENOENT', /'x\/b\.img'/],
    ['a directory', { path: 'disks' }, 'EINVAL', /directory/],
    ['a file as directory', { path: 'disks/a.img/b' }, 'EINVAL', /directory/],
  ])('refuses %s and holds nothing', async (_name, raw, code, message) => {
    const opfs = new OpfsDouble();
    await (await open(opfs, fresh)).close();
    await expect(open(opfs, raw)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    expectReleased(opfs);
  });

  it.each([
    [{}, /'path'/],
    [{ path: 'a//b' }, /names joined/],
    [{ path: '../a' }, /names joined/],
    [{ path: 'a/' }, /names joined/],
    [{ path: 'a', size: 512 }, /'create'/],
    [{ path: 'a', create: 1 }, /true or false/],
    [{ path: 'a', mode: 'x' }, /unknown option 'mode'/],
  ])('refuses the options %o', (raw, message) => {
    expect(() => browserDriver.parseOptions(raw)).toThrow(message);
  });

  it('says EBUSY after a second when another tab holds the lock', async () => {
    const opfs = new OpfsDouble();
    const first = await open(opfs, fresh);
    const aioContext = fastContext(20);
    const start = aioContext.now();
    await expect(open(opfs, { path: 'disks/a.img' }, { aioContext })).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringMatching(/another tab, window or disk holds it/) as string,
    });
    expect(aioContext.now() - start).toBeGreaterThanOrEqual(0.99e9);
    await first.close();
    await (await open(opfs, { path: 'disks/a.img' })).close();
    await Promise.resolve();
    expectReleased(opfs);
  });

  it('lets readers share, and no writer beside them', async () => {
    const opfs = new OpfsDouble();
    await (await open(opfs, fresh)).close();
    const path = 'disks/a.img';
    const readers = [
      await open(opfs, { path }, { readOnly: true }),
      await open(opfs, { path }, { readOnly: true }),
    ];
    const writer = open(opfs, { path }, { aioContext: fastContext(20) });
    await expect(writer).rejects.toMatchObject({ code: 'EBUSY' });
    for (const reader of readers) await reader.close();
    await (await open(opfs, { path })).close();
    await Promise.resolve();
    expectReleased(opfs);
  });

  it('lets several threads of one disk have the file, and nobody else', async () => {
    const opfs = new OpfsDouble();
    const shared = { ...fresh, share: true };
    const home = await open(opfs, shared);
    const carried = home.share!();
    const other = await open(opfs, shared, { carried });
    expect(home.pwritev!(512, IOVector.of(Uint8Array.of(7)), 0)).toBe(OK);
    const seen = new Uint8Array(1);
    expect(other.preadv(512, IOVector.of(seen), 0)).toBe(OK);
    expect(seen[0]).toBe(7);
    const third = open(opfs, fresh, { aioContext: fastContext(20) });
    await expect(third).rejects.toMatchObject({ code: 'EBUSY' });
    await other.close();
    await home.close();
    await Promise.resolve();
    expectReleased(opfs);
  });

  it.each(['ignored', 'refused'] as const)('says so where modes are %s', async (modes) => {
    const opfs = new OpfsDouble();
    opfs.modes = modes;
    const opening = open(opfs, { ...fresh, share: true });
    await expect(opening).rejects.toMatchObject({ code: 'ENOTSUP' });
    await Promise.resolve();
    expectReleased(opfs);
    await (await open(opfs, fresh)).close();
    const readers = open(opfs, { path: fresh.path, share: true }, { readOnly: true });
    await expect(readers).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it.each([
    ['the lock', true, 'NoModificationAllowedError'],
    ['the handle', false, 'NoModificationAllowedError'],
    ['the handle in WebKit', false, 'InvalidStateError'],
  ] as const)('waits for a tab that lets go in time, of %s', async (_name, locks, busyError) => {
    const opfs = new OpfsDouble({ locks });
    opfs.busyError = busyError;
    const first = await open(opfs, fresh);
    const second = open(opfs, { path: 'disks/a.img' });
    setTimeout(() => void first.close(), 15);
    const state = await second;
    expect(state.info!()).toMatchObject({ lock: locks ? 'web-lock' : 'handle' });
    await state.close();
    // Nothing stays of what was made to find out.
    expect([...opfs.files.keys()]).toEqual(['disks/a.img']);
  });

  it('tries the handle for a second, then says EBUSY and gives the lock back', async () => {
    const opfs = new OpfsDouble();
    await (await open(opfs, fresh)).close();
    const busy = { call: 'open', name: 'NoModificationAllowedError' };
    opfs.failures.push(...Array.from({ length: 20 }, () => busy));
    await (await open(opfs, { path: 'disks/a.img' })).close();
    expect(opfs.failures).toHaveLength(0);
    opfs.failures.push(...Array.from({ length: 26 }, () => busy));
    await expect(open(opfs, { path: 'disks/a.img' })).rejects.toMatchObject({ code: 'EBUSY' });
    expect(opfs.failures).toHaveLength(5);
    expectReleased(opfs);
  });

  it.each([
    ['waiting for the lock', true],
    ['waiting for the handle', false],
  ])('stops %s when its signal aborts', async (_name, locks) => {
    const opfs = new OpfsDouble({ locks });
    const first = await open(opfs, fresh);
    const abort = new AbortController();
    const aioContext = testContext();
    const opening = open(opfs, { path: 'disks/a.img' }, { signal: abort.signal, aioContext });
    setTimeout(() => abort.abort(), 10);
    await expect(opening).rejects.toMatchObject({ code: 'ECANCELED' });
    expect(aioContext.armedTimers).toBe(0);
    await first.close();
    await Promise.resolve();
    expectReleased(opfs);
  });

  it.each([
    ['open', 'SecurityError', 'EACCES'],
    ['open', 'NotSupportedError', 'ENOTSUP'],
    ['root', 'SecurityError', 'EACCES'],
    ['truncate', 'QuotaExceededError', 'ENOSPC'],
    ['truncate', 'NS_ERROR_FILE_NO_DEVICE_SPACE', 'ENOSPC'],
    ['read', 'InvalidStateError', 'EIO'],
  ])('gives everything back when %s throws %s', async (call, name, code) => {
    const opfs = new OpfsDouble();
    opfs.failures.push({ call, name });
    await expect(open(opfs, fresh)).rejects.toMatchObject({ code });
    await Promise.resolve();
    expectReleased(opfs);
  });

  it('opens read-only several times, and never writes', async () => {
    const opfs = new OpfsDouble();
    await (await open(opfs, fresh)).close();
    const states = await Promise.all(
      [1, 2].map(() => open(opfs, { path: 'disks/a.img' }, { readOnly: true })),
    );
    for (const state of states) {
      expect(state.pwritev!(0, IOVector.of(new Uint8Array(1)), 0)).toBe(-EROFS);
      expect(await state.truncate!(0)).toBe(-EROFS);
      expect(state.flush!()).toBe(OK);
      await state.close();
    }
    expect(opfs.calls.filter((call) => !call.startsWith('read'))).toEqual(['truncate 65536 0']);
    await expect(open(opfs, fresh, { readOnly: true })).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it.each(['ignored', 'refused'] as const)(
    'enforces read-only where modes are %s',
    async (modes) => {
      const opfs = new OpfsDouble();
      await (await open(opfs, fresh)).close();
      opfs.modes = modes;
      const state = await open(opfs, { path: 'disks/a.img' }, { readOnly: true });
      expect(state.pwritev!(0, IOVector.of(new Uint8Array(1)), 0)).toBe(-EROFS);
      await state.close();
      expect(opfs.calls.some((call) => call.startsWith('write'))).toBe(false);
    },
  );

  it('finds slow storage by the quickest of 5 reads, and says so', async () => {
    for (const [microseconds, slow] of [
      [5, false],
      [90, false],
      [250, true],
    ] as const) {
      // prettier-ignore
      const opfs = new OpfsDouble();
      let clock = 0;
      let reads = 0;
      // Most of the five are slow for some other reason.
      opfs.onRead = () => (clock += (reads++ === 2 ? microseconds : 5000) * 1000);
      const aioContext = Object.assign(fastContext(20), { now: () => clock });
      const context = openContext({ aioContext });
      const driver = opfsDriver(opfs);
      const state = await driver.open(context, driver.parseOptions(fresh));
      expect(state.info!()).toMatchObject({ slow });
      expect(state.limits.optTransfer).toBe(slow ? 256 * K : 64 * K);
      expect(context.notices).toHaveLength(slow ? 1 : 0);
      expect(opfs.calls.filter((call) => call === 'read 0 4096')).toHaveLength(5);
      await state.close();
    }
  });

  it('moves slow storage in batches: 1 call for 64 pages, read or written, and a flush for certain', async () => {
    const opfs = new OpfsDouble();
    let clock = 0;
    opfs.onRead = () => (clock += 250_000);
    const aioContext = Object.assign(fastContext(20), { now: () => clock });
    const state = await open(opfs, { ...fresh, size: '1M' }, { aioContext });
    opfs.calls.length = 0;
    const page = IOVector.of(new Uint8Array(4 * K).fill(7));
    for (let at = 0; at < 256 * K; at += 4 * K) expect(state.preadv(at, page, 0)).toBe(OK);
    expect(opfs.calls).toEqual([`read 0 ${256 * K}`]);
    page.fill(7);
    for (let at = 0; at < 256 * K; at += 4 * K) expect(state.pwritev!(at, page, 0)).toBe(OK);
    expect(opfs.calls).toHaveLength(1);
    expect(state.flush!()).toBe(OK);
    expect(opfs.calls.slice(1)).toEqual([`write 0 ${256 * K}`, 'flush 0 0']);
    expect(opfs.files.get('disks/a.img')!.bytes[256 * K - 1]).toBe(7);
    expect(state.counters!()).toMatchObject({ hostReads: 1, hostWrites: 1 });
    opfs.failures.push({ call: 'write', name: 'QuotaExceededError' });
    expect(state.pwritev!(0, page, 0)).toBe(OK);
    expect(state.flush!()).toBe(-ENOSPC);
    expect(state.flush!()).toBe(OK);
    await state.close();
    await Promise.resolve();
    expectReleased(opfs);
  });

  it('makes an image anew for createImage', async () => {
    const opfs = new OpfsDouble();
    const state = await open(opfs, fresh);
    await state.pwritev!(0, IOVector.of(new Uint8Array(512).fill(9)), 0);
    await state.close();
    const context: CreateContext = {
      aioContext: fastContext(20),
      signal: undefined,
      file: undefined,
    };
    await opfsDriver(opfs).create!(context, 4096, { path: 'disks/a.img' });
    await Promise.resolve();
    expectReleased(opfs);
    expect(opfs.files.get('disks/a.img')!.bytes).toEqual(new Uint8Array(4096));
  });

  it('says what is missing outside a browser', async () => {
    const opening = browserDriver.open(openContext(), browserDriver.parseOptions({ path: 'a' }));
    await expect(opening).rejects.toMatchObject({ code: 'ENOTSUP' });
  });
});
