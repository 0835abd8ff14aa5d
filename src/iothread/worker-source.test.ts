// Whose script a worker runs. What a browser does with it is proved on the package itself.

import { expect, it } from 'vitest';
import { NodeHost } from '../host/node.ts';
import { IOThread } from './iothread.ts';

const host = new NodeHost(new URL('file:///nowhere/own.mjs'));

it("runs the caller's script in place of the entry's own", async () => {
  await expect(IOThread.start(host)).rejects.toMatchObject({
    code: 'ENODEV',
    message: expect.stringContaining('own.mjs') as string,
  });
  const workerUrl = new URL('file:///nowhere/others.mjs');
  await expect(IOThread.start(host, { workerUrl })).rejects.toMatchObject({
    code: 'ENODEV',
    message: expect.stringContaining('others.mjs') as string,
  });
});

it('says that a worker cannot be made, and why', async () => {
  const createWorker = (): Worker => {
    throw new Error('never called in Node');
  };
  await expect(IOThread.start(host, { id: 'web', createWorker })).rejects.toMatchObject({
    code: 'ENODEV',
    message: expect.stringMatching(/'web' cannot be started: .*give workerUrl/) as string,
  });
});
