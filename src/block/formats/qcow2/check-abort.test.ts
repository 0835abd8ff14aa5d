// A check that is aborted ends where it is, and leaves the image no worse than it was.

import { expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import type { MaybeRet } from '../../../base/ret.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { createQcow2, openQcow2, read } from '../../../testing/qcow2-images.ts';
import { testContext } from '../../../testing/test-context.ts';
import { Pace } from '../../pace.ts';

const CLUSTER = 512;
const SIZE = 2 * 1024 * 1024;

/** Aborts in the midst of the n-th read or write from now on; counts what comes after. */
class Watched extends SimDisk {
  abortIn = 0;
  after = 0;
  onAbort = (): void => {};

  #count(): void {
    if (this.abortIn === 0) return;
    if (this.abortIn > 1) this.abortIn -= 1;
    else if (this.after++ === 0) this.onAbort();
  }
  override preadv(offset: number, qiov: IOVector): MaybeRet {
    this.#count();
    return super.preadv(offset, qiov);
  }
  override pwritev(offset: number, qiov: IOVector): MaybeRet {
    this.#count();
    return super.pwritev(offset, qiov);
  }
}

/** An image of many small tables, with leaks and with refcounts that are too low. */
async function damaged(): Promise<{ bytes: Uint8Array; model: Uint8Array }> {
  const made = new SimDisk(new Uint8Array(0));
  await createQcow2(made, SIZE, { cluster_size: CLUSTER });
  const { node } = await openQcow2(made);
  const model = new Prng(1).bytes(SIZE);
  await node.pwritev(0, IOVector.of(model));
  await node.close();
  const bytes = made.snapshot();
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const table = Number(view.getBigUint64(48));
  for (let block = 0; block < 8; block++) {
    const at = Number(view.getBigUint64(table + block * 8));
    view.setUint16(at + 2 * 100, 0);
    view.setUint16(at + 2 * 101, 3);
  }
  return { bytes, model };
}

it.each(['none', 'leaks', 'all'] as const)('of a check, fix: %s', async (fix) => {
  const { bytes, model } = await damaged();
  const errors = (found: { corruptions: number; leaks: number }): number =>
    found.corruptions + found.leaks;
  const whole = new Watched(bytes);
  const first = await openQcow2(whole);
  const before = await first.node.check('none');
  whole.abortIn = 1;
  const after = errors(await first.node.check(fix));
  const calls = whole.after;
  await first.node.close();
  expect(calls).toBeGreaterThan(60);
  for (let n = 5; n < calls; n += Math.ceil(calls / 15)) {
    const disk = new Watched(bytes);
    const { node } = await openQcow2(disk);
    const controller = new AbortController();
    disk.onAbort = () => controller.abort(new Error('enough'));
    disk.abortIn = n;
    const checking = node.check(fix, new Pace(testContext(), controller.signal));
    await expect(checking, `call ${n}`).rejects.toThrow('enough');
    // What is under way, and no more than a table's worth of it.
    expect(disk.after, `call ${n}`).toBeLessThan(20);
    disk.abortIn = 0;
    const now = await node.check('none');
    expect(errors(now)).toBeLessThanOrEqual(errors(before));
    expect(Buffer.compare(await read(node, 0, SIZE), model)).toBe(0);
    expect(errors(await node.check(fix))).toBe(after);
    await node.close();
  }
});
