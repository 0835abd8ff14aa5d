// The conformance lists over the protocol drivers, each below a raw node, as it is used.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startImageServer } from '../../../e2e/server/image-server.ts';
import type { ImageServer } from '../../../e2e/server/image-server.ts';
import { conformanceCases, runConformance } from '../../testing/conformance.ts';
import { IdbDouble } from '../../testing/idb-double.ts';
import { OpfsDouble } from '../../testing/opfs-double.ts';
import { Prng } from '../../testing/prng.ts';
import { checkReadOnly } from '../../testing/read-only-conformance.ts';
import { testContext } from '../../testing/test-context.ts';
import type { BlockNode } from '../block-node.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { registerDriver } from '../registry.ts';
import { idbDriver } from './idb.ts';
import { opfsDriver } from './opfs.ts';

const SIZE = 2 ** 20 + 512;
const SEED = 20_261_122;
const folder = mkdtempSync(join(tmpdir(), 'diskplane-conformance-'));
const opfs = new OpfsDouble();
const idb = new IdbDouble();
let server: ImageServer;

beforeAll(async () => {
  registerDriver('file', () => import('./file.ts'));
  registerDriver('opfs', () => Promise.resolve({ driver: opfsDriver(opfs) }));
  registerDriver('idb', () => Promise.resolve({ driver: idbDriver(idb) }));
  server = await startImageServer();
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await server.close();
});

let images = 0;

/** Options of a protocol node for an image of its own. */
const media: Record<string, () => Record<string, unknown>> = {
  file: () => ({ driver: 'file', filename: join(folder, `${images++}.img`) }),
  opfs: () => ({ driver: 'opfs', path: `disks/${images++}.img` }),
  idb: () => ({ driver: 'idb', database: `disk-${images++}` }),
  'idb with large records': () => ({
    driver: 'idb',
    database: `disk-${images++}`,
    'record-size': '1M',
    'cache-size': '4M',
  }),
};

describe.each(Object.keys(media))('conformance: raw on %s', (name) => {
  it.each(conformanceCases.map((test) => [test.name, test] as const))('%s', async (_name, test) => {
    const graph = new Graph(testContext());
    const file = media[name]!();
    const top = { driver: 'raw', 'node-name': 'top' };
    const node = await openGraph(graph, { ...top, file: { ...file, create: true, size: SIZE } });
    const reopen = async (readOnly: boolean): Promise<BlockNode> => {
      await graph.blockdevDel('top');
      return openGraph(graph, { ...top, file }, { readOnly });
    };
    expect(await runConformance(test, { node, seed: SEED, reopen })).toBe(true);
    await graph.blockdevDel('top');
    expect(opfs.openHandles).toBe(0);
    expect(idb.openConnections).toBe(0);
  });
});

describe('conformance: http', () => {
  it.each([
    ['with a large cache', {}],
    ['with a small cache', { 'cache-size': '256K', 'chunk-size': '16K', 'max-connections': 2 }],
  ])('reads what the server has, %s', async (_name, options) => {
    const image = new Prng(SEED).bytes(SIZE);
    server.setFile('/a.img', { bytes: image });
    const context = testContext();
    const graph = new Graph(context);
    const file = { driver: 'http', url: `${server.url}/a.img`, ...options };
    const node = await openGraph(graph, { driver: 'raw', 'node-name': 'top', file });
    await checkReadOnly(node, image, SEED);
    await graph.blockdevDel('top');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(context.hostWork).toBe(0);
    expect(context.armedTimers).toBe(0);
  });
});
