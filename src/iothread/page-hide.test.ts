// A page that is left lets go of its disks: in good order, or at once where its workers are frozen.

import { expect, it } from 'vitest';
import { NodeHost } from '../host/node.ts';
import { nodeTestHost } from '../testing/node-iothread.ts';
import { IOThread } from './iothread.ts';

/** Node's host with a page that a test leaves. */
class LeavingHost extends NodeHost {
  leave: (frozen: boolean) => void = () => {};

  override onPageHide(callback: (frozen: boolean) => void = () => {}): () => void {
    this.leave = callback;
    return () => {};
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
