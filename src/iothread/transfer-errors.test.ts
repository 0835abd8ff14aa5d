import { expose, wrap } from 'comlink';
import type { Endpoint } from 'comlink';
import { MessageChannel } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { BlockError } from '../block/block-error.ts';
import { nodeEndpoint } from '../host/node.ts';
import { installTransferHandlers } from './transfer-errors.ts';

const open: MessagePort[] = [];
afterEach(() => {
  for (const port of open.splice(0)) port.close();
});

function hop<T>(api: T): ReturnType<typeof wrap<T>> {
  installTransferHandlers();
  const { port1, port2 } = new MessageChannel();
  open.push(port1, port2);
  expose(api, nodeEndpoint(port1) as Endpoint);
  return wrap<T>(nodeEndpoint(port2) as Endpoint);
}

describe('errors over Comlink', () => {
  it('keeps class, code, node and cause', async () => {
    const remote = hop({
      fail: (): number => {
        const cause = new BlockError('EACCES', 'not allowed', { node: 'base' });
        throw new BlockError('ENOSPC', 'the disk is full', { node: 'top', cause });
      },
    });
    const error = await remote.fail().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(BlockError);
    expect(error).toMatchObject({ code: 'ENOSPC', node: 'top', message: 'the disk is full' });
    expect((error as BlockError).cause).toMatchObject({ code: 'EACCES', node: 'base' });
  });

  it('keeps the name of other errors, and wraps what is no error', async () => {
    const remote = hop({
      type: () => {
        throw new TypeError('wrong type');
      },
      text: () => {
        // eslint-disable-next-line @typescript-eslint/only-throw-error
        throw 'plain text';
      },
    });
    await expect(remote.type()).rejects.toMatchObject({ name: 'TypeError' });
    await expect(remote.text()).rejects.toThrow('plain text');
  });
});
