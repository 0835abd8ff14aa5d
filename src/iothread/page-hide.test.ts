// A page that is left lets go of its disks: in good order, or at once where its workers are frozen.

import { expect, it } from 'vitest';
import { NodeHost } from '../host/node.ts';
import { nodeTestHost } from '../testing/node-iothread.ts';
import { IOThread } from './iothread.ts';

/** Node's host with a page that a test leaves. */
class LeavingHost extends NodeHost {
  leave: (frozen: boolean) => void = () => {};
  hide: () => void = () => {};
  watched = 0;

  override onPageHide(callback: (frozen: boolean) => void = () => {}): () => void {
    this.leave = callback;
    return () => {};
  }

  override onBackground(callback: () => void = () => {}): () => void {
    this.hide = callback;
    this.watched = 1;
    return () => void (this.watched -= 1);
  }
}

async function start(): Promise<{ host: LeavingHost; thread: IOThread }> {
  const host = Object.setPrototypeOf(await nodeTestHost(), LeavingHost.prototype) as LeavingHost;
  const thread = await IOThread.start(host);
  await thread.blockdevAdd('memory:1M');
  return { host, thread };
}

it('closes the graph of a page that goes away', async () => {
  const { host, thread } = await start();
  host.leave(false);
  await thread.close();
  expect(thread.failed?.message).toMatch(/was closed/);
});

it('ends the worker of a page that is put aside', async () => {
  const { host, thread } = await start();
  const pending = thread.queryBlock();
  host.leave(true);
  expect(thread.failed).toMatchObject({ code: 'ENODEV' });
  await expect(pending).rejects.toThrow(/put aside/);
});

it('flushes everything when the page is hidden or about to be frozen', async () => {
  const { host, thread } = await start();
  host.hide();
  const flushes = (await thread.queryBlockstats()).map(({ flushOps }) => flushOps);
  expect(flushes.length).toBeGreaterThan(0);
  expect(flushes.every((count) => count === 1)).toBe(true);
  await thread.drainAll();
  await thread.close();
  expect(host.watched).toBe(0);
});
