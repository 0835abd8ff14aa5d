// The conformance list from a page through façade, transport, queue, device and graph, in a real
// IOThread, both ways that requests can go; and that messages need no shared memory anywhere.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlockNode } from './block/block-node.ts';
import { Disk } from './disk.ts';
import { NodeHost } from './host/node.ts';
import { IOThread } from './iothread/iothread.ts';
import { conformanceCases, runConformance } from './testing/conformance.ts';
import { DiskState } from './testing/disk-state.ts';
import { nodeTestHost, nodeTestWorker } from './testing/node-iothread.ts';
import { testContext } from './testing/test-context.ts';

const SIZE = 2 ** 20;
const SEED = 20_261_128;

describe.each(['shared', 'messages'] as const)('conformance through a Disk, %s', (transport) => {
  let host: NodeHost;
  let thread: IOThread;
  beforeAll(async () => {
    host = await nodeTestHost();
    thread = await IOThread.start(host, { transport });
  });
  afterAll(() => thread.close());

  it.each(conformanceCases.map((test) => [test.name, test] as const))('%s', async (_name, test) => {
    const disk = await Disk.open(host, { driver: 'memory', size: SIZE }, { thread });
    const node = new BlockNode({
      name: 'disk',
      driver: 'disk',
      kind: 'protocol',
      context: testContext(),
      state: new DiskState(disk),
      children: [],
      readOnly: false,
    });
    const ran = await runConformance(test, { node, seed: SEED });
    expect(ran).toBe(test.needs !== 'reopen');
    await node.close();
  });
});

describe('without shared memory', () => {
  /** A worker that has none from its first line on. */
  async function hostWithout(): Promise<NodeHost> {
    const code = `delete globalThis.SharedArrayBuffer; await import('${(await nodeTestWorker()).href}');`;
    return new NodeHost(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
  }

  it('a disk works by messages, and is told so; who asks for more hears why not', async () => {
    const host = await hostWithout();
    const { SharedArrayBuffer: kept } = globalThis;
    Reflect.deleteProperty(globalThis, 'SharedArrayBuffer');
    try {
      const disk = await Disk.open(host, { driver: 'memory', size: SIZE });
      expect(disk.transport).toBe('messages');
      await disk.write(1000, new Uint8Array(100_000).fill(7));
      await disk.flush();
      const back = new Uint8Array(100_002);
      await disk.read(999, back);
      expect([back[0], back[1], back[100_000], back[100_001]]).toEqual([0, 7, 7, 0]);
      const { loop } = await disk.thread.queryIothread();
      expect(loop.blockingSleeps).toBe(0);
      await disk.close();
      await expect(IOThread.start(host, { transport: 'shared' })).rejects.toMatchObject({
        code: 'ENOTSUP',
        message: expect.stringContaining('Cross-Origin-Opener-Policy') as string,
      });
    } finally {
      globalThis.SharedArrayBuffer = kept;
    }
  });

  it('a thread that takes messages refuses memory of others', async () => {
    const host = await nodeTestHost();
    const thread = await IOThread.start(host, { transport: 'messages' });
    const disk = await Disk.open(host, { driver: 'memory', size: SIZE }, { thread });
    const memory = new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true });
    const place = { memory, ramBase: 0, ramBytes: 65536, scratch: 65536, numQueues: 1 };
    await expect(disk.attachDevice(place)).rejects.toMatchObject({ code: 'ENOTSUP' });
    await thread.close();
  });
});
