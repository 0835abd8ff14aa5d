// The opfs driver while its disk moves to another thread: at no time is the file free for others, whatever fails.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { OK } from '../../base/ret.ts';
import { expectReleased, fresh, open } from '../../testing/opfs-disk.ts';
import { openContext } from '../../testing/open-context.ts';
import { OpfsDouble } from '../../testing/opfs-double.ts';
import { testContext } from '../../testing/test-context.ts';
import type { BlockError } from '../block-error.ts';
import { opfsDriver } from './opfs.ts';

const K = 1024;

describe('a file in OPFS', () => {
  it.each(['honoured', 'ignored'] as const)(
    'is at no time free for others while its disk moves, handle modes %s',
    async (modes) => {
      const opfs = new OpfsDouble();
      opfs.modes = modes;
      const driver = opfsDriver(opfs);
      const state = await open(opfs, fresh);
      expect(state.pwritev!(0, IOVector.of(Uint8Array.of(7)), 0)).toBe(OK);
      // Somebody waits for it already.
      const other = open(opfs, { path: fresh.path }).then(
        () => 'opened',
        (error: BlockError) => error.code,
      );
      const options = driver.parseOptions({ path: fresh.path });
      const several = state.ahead!() === true;
      expect(several).toBe(modes === 'honoured');
      const ahead = several ? await driver.openAhead!(openContext(), options, true) : undefined;
      expect(opfs.openHandles).toBe(several ? 2 : 1);
      const leaving = state.leave!();
      const carried = state.carry!().data;
      await state.close();
      expect(opfs.openHandles).toBe(several ? 2 : 0);
      expect(opfs.lockManager!.held).toHaveLength(1);
      const moved = await open(
        opfs,
        { path: fresh.path },
        { carried, takesOver: true, ...(ahead === undefined ? {} : { ahead }) },
      );
      leaving(true);
      expect(opfs.openHandles).toBe(1);
      const target = new Uint8Array(1);
      expect(moved.preadv(0, IOVector.of(target), 0)).toBe(OK);
      expect([...target]).toEqual([7]);
      expect(await other).toBe('EBUSY');
      await moved.close();
      await Promise.resolve();
      expectReleased(opfs);
    },
  );

  it('is free again when its disk came to be open nowhere, or was not to move after all', async () => {
    const opfs = new OpfsDouble();
    const driver = opfsDriver(opfs);
    const options = driver.parseOptions({ path: fresh.path });
    const state = await open(opfs, fresh);
    (await driver.openAhead!(openContext(), options, true)).close();
    const leaving = state.leave!();
    await state.close();
    leaving(false);
    await Promise.resolve();
    expectReleased(opfs);
    // One for readers, who hold it together.
    const reader = await open(opfs, { path: fresh.path }, { readOnly: true });
    const readOnly = openContext({ readOnly: true });
    const ahead = await driver.openAhead!(readOnly, options, true);
    const left = reader.leave!();
    await reader.close();
    const context = { readOnly: true, carried: { slow: false }, takesOver: true, ahead };
    const moved = await open(opfs, { path: fresh.path }, context);
    left(true);
    expect(opfs.lockManager!.held).toHaveLength(1);
    expect(opfs.openHandles).toBe(1);
    await moved.close();
    await Promise.resolve();
    expectReleased(opfs);
  });

  it('that moves does not make a file that is gone, nor ask again whether storage is slow', async () => {
    const opfs = new OpfsDouble();
    const state = await open(opfs, fresh);
    const { data: carried } = state.carry!();
    await state.close();
    opfs.calls.length = 0;
    const moved = await open(opfs, fresh, { carried });
    expect(moved.length).toBe(64 * K);
    expect(opfs.calls.filter((call) => call.startsWith('read'))).toEqual([]);
    await moved.close();
    await opfsDriver(opfs).remove!({ aioContext: testContext(), signal: undefined }, fresh);
    await expect(open(opfs, fresh, { carried })).rejects.toMatchObject({ code: 'ENOENT' });
    expectReleased(opfs);
  });

  it('stays with the thread that left it where the other cannot open it', async () => {
    const opfs = new OpfsDouble();
    opfs.modes = 'ignored';
    const state = await open(opfs, fresh);
    const leaving = state.leave!();
    const carried = state.carry!().data;
    await state.close();
    opfs.failures.push({ call: 'open', name: 'QuotaExceededError' });
    const there = { carried, takesOver: true };
    await expect(open(opfs, { path: fresh.path }, there)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(opfs.lockManager!.held).toHaveLength(1);
    const back = await open(opfs, { path: fresh.path }, there);
    leaving(true);
    await Promise.resolve();
    expect(opfs.lockManager!.held).toHaveLength(1);
    await back.close();
    await Promise.resolve();
    expectReleased(opfs);
  });
});
