// What a convert leaves behind when it does not get to its end. Against the real qemu-img:
// differential.test.ts.

import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { ControllableState } from '../../testing/controllable.ts';
import { OpfsDouble } from '../../testing/opfs-double.ts';
import { withTempDir } from '../../testing/qemu.ts';
import { testContext } from '../../testing/test-context.ts';
import { BlockNode } from '../block-node.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { opfsDriver } from '../protocols/opfs.ts';
import { registerDriver } from '../registry.ts';
import { convertDisk } from './convert.ts';
import { PIECES } from './copy.ts';
import { Job } from './job.ts';
import type { JobOptions } from './job.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
let opfs = new OpfsDouble();

beforeAll(() => {
  registerDriver('file', () => import('../protocols/file.ts'));
  const environment = { root: () => opfs.root(), locks: () => opfs.locks() };
  registerDriver('opfs', async () => ({ driver: opfsDriver(environment) }));
});

async function graphOf(options: object): Promise<Graph> {
  const graph = new Graph(testContext());
  await openGraph(graph, { 'node-name': 'top', ...options });
  return graph;
}

function convert(graph: Graph, target: object, options: JobOptions = {}): Promise<void> {
  const job = new Job('job:1', graph.context, options);
  return convertDisk(graph, 'top', target as Record<string, unknown>, job);
}

describe('convert', () => {
  it('refuses a target that is in use, whatever it is called, and a backing file', async () => {
    await withTempDir(async (folder) => {
      const path = join(folder, 'a.img');
      writeFileSync(path, new Uint8Array(MIB).fill(5));
      symlinkSync(path, join(folder, 'b.img'));
      const graph = await graphOf({ driver: 'raw', file: { driver: 'file', filename: path } });
      for (const name of ['a.img', './b.img', '../' + folder.split('/').at(-1)! + '/a.img']) {
        const file = { driver: 'file', filename: `${folder}/${name}` };
        await expect(convert(graph, { driver: 'qcow2', file })).rejects.toMatchObject({
          code: 'EBUSY',
        });
      }
      expect(readFileSync(path).every((byte) => byte === 5)).toBe(true);
      const file = { driver: 'file', filename: join(folder, 'c.qcow2') };
      await expect(
        convert(graph, { driver: 'qcow2', file, backing_file: 'x' }),
      ).rejects.toMatchObject({ code: 'EINVAL' });
      await expect(
        convert(graph, { driver: 'qcow2', file, size: MIB - 512 }),
      ).rejects.toMatchObject({ code: 'EINVAL' });
      expect(existsSync(file.filename)).toBe(false);
      await graph.closeAll();
    });
  });

  it('leaves no image behind when storage is full', async () => {
    opfs = new OpfsDouble();
    const graph = await graphOf({ driver: 'memory', size: 4 * MIB });
    await graph.get('top').pwritev(0, IOVector.of(new Uint8Array(3 * MIB).fill(1)));
    opfs.quota = 2 * MIB;
    for (const driver of ['raw', 'qcow2']) {
      const target = { driver, file: { driver: 'opfs', path: 'out/disk.img' } };
      await expect(convert(graph, target)).rejects.toMatchObject({ code: 'ENOSPC' });
      expect([...opfs.files.keys()]).toEqual([]);
      expect(opfs.lockManager!.held).toEqual([]);
    }
    opfs.quota = Infinity;
    await convert(graph, { driver: 'qcow2', file: { driver: 'opfs', path: 'out/disk.img' } });
    expect([...opfs.files.keys()]).toEqual(['out/disk.img']);
    await graph.closeAll();
  });

  it('fails with the source, and removes the target', async () => {
    opfs = new OpfsDouble();
    const { graph, state } = slowGraph('microtask', 16 * MIB);
    state.failAt('preadv', 3, -5);
    const target = { driver: 'raw', file: { driver: 'opfs', path: 'disk.img' } };
    await expect(convert(graph, target)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringContaining("node 'top'") as string,
    });
    expect([...opfs.files.keys()]).toEqual([]);
    await graph.closeAll();
  });

  it('ends at once when aborted, however slow the source, with few reads under way', async () => {
    opfs = new OpfsDouble();
    const { graph, state } = slowGraph('held', 16 * MIB);
    const controller = new AbortController();
    const target = { driver: 'raw', file: { driver: 'opfs', path: 'disk.img' } };
    const converting = convert(graph, target, { signal: controller.signal });
    while (state.held.length < PIECES) await new Promise((resolve) => setImmediate(resolve));
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(state.held.length).toBe(PIECES);
    controller.abort(new Error('enough'));
    await expect(converting).rejects.toThrow('enough');
    expect([...opfs.files.keys()]).toEqual([]);
    expect(opfs.openHandles).toBe(0);
    expect(graph.backends).toEqual([]);
    // What comes late is dropped.
    for (const call of state.held.splice(0)) call.release();
    await graph.closeAll();
  });

  it('never passes a disk that was written to meanwhile for a copy', async () => {
    opfs = new OpfsDouble();
    const { graph, state } = slowGraph('held', 4 * MIB);
    const target = { driver: 'raw', file: { driver: 'opfs', path: 'disk.img' } };
    const converting = convert(graph, target);
    while (state.held.length < 4) await new Promise((resolve) => setImmediate(resolve));
    state.mode = 'sync';
    await graph.get('top').pwritev(0, IOVector.of(new Uint8Array(512).fill(1)));
    for (const call of state.held.splice(0)) call.release();
    await expect(converting).rejects.toMatchObject({
      code: 'ESTALE',
      message: expect.stringContaining('Pause') as string,
    });
    expect([...opfs.files.keys()]).toEqual([]);
    await graph.closeAll();
  });

  it('skips what is zero without reading it: a terabyte takes no time', async () => {
    opfs = new OpfsDouble();
    const graph = await graphOf({ driver: 'memory', size: 2 ** 40 });
    await graph.get('top').pwritev(2 ** 39 + 12345, IOVector.of(new Uint8Array(100_000).fill(7)));
    await convert(graph, { driver: 'qcow2', file: { driver: 'opfs', path: 'disk.qcow2' } });
    const backend = graph.get('top').stats;
    expect(backend.rdBytes).toBeLessThan(2 * MIB);
    await graph.blockdevDel('top');
    const file = { driver: 'opfs', path: 'disk.qcow2' };
    const copy = await openGraph(graph, { driver: 'qcow2', file });
    const back = new Uint8Array(100_002);
    await copy.preadv(2 ** 39 + 12344, IOVector.of(back));
    expect([back[0], back[1], back[100_000], back[100_001]]).toEqual([0, 7, 7, 0]);
    await graph.closeAll();
  });
});

/** A node 'top' whose every answer takes as long as `mode` says. */
function slowGraph(
  mode: 'held' | 'microtask',
  size: number,
): { graph: Graph; state: ControllableState } {
  const graph = new Graph(testContext());
  const state = new ControllableState(size, { mode, lacks: ['blockStatus', 'flush'] });
  const parts = { name: 'top', driver: 'test', kind: 'protocol', children: [] } as const;
  const node = new BlockNode({ ...parts, context: graph.context, state, readOnly: false });
  graph.insert(node);
  graph.own(node);
  return { graph, state };
}
