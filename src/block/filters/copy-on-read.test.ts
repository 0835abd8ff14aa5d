// Copy on read: against a byte model, against the real qemu-img, and one property at a time.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { ENOSPC } from '../../base/ret.ts';
import { read, same } from '../../testing/checks.ts';
import { ControllableState } from '../../testing/controllable.ts';
import { ByteModel } from '../../testing/model.ts';
import { Prng } from '../../testing/prng.ts';
import { haveQemu, qemuImg, qemuImgOk, withTempDir } from '../../testing/qemu.ts';
import { randomOperations } from '../../testing/random-operations.ts';
import { testContext } from '../../testing/test-context.ts';
import { BlockNode } from '../block-node.ts';
import { createImage } from '../create.ts';
import { Graph } from '../graph.ts';
import { mapDisk } from '../jobs/map.ts';
import { Job } from '../jobs/job.ts';
import { openGraph } from '../open.ts';
import { registerDriver } from '../registry.ts';

const KIB = 1024;
const SIZE = 2 * 1024 * KIB;
/** Of the backing image: shorter than the overlay, and no multiple of its clusters. */
const BASE_SIZE = SIZE - 200 * KIB - 512;

beforeAll(() => registerDriver('file', () => import('../protocols/file.ts')));

interface Setup {
  readonly graph: Graph;
  readonly node: BlockNode;
  readonly base: ControllableState;
  readonly file: ControllableState;
}

/** `copy-on-read` over qcow2 over a base that takes time, and that holds `bytes`. */
async function setup(bytes: Uint8Array, clusterSize = 64 * KIB): Promise<Setup> {
  const graph = new Graph(testContext());
  const add = (name: string, state: ControllableState): void => {
    const parts = { name, driver: 'test', kind: 'protocol', children: [] } as const;
    const node = new BlockNode({ ...parts, context: graph.context, state, readOnly: false });
    graph.insert(node);
    graph.own(node);
  };
  const file = new ControllableState(0);
  const base = new ControllableState(bytes, { mode: 'microtask' });
  add('file', file);
  add('base', base);
  await createImage(graph, { driver: 'qcow2', file: 'file', size: SIZE, 'cluster-size': clusterSize }); // prettier-ignore
  const overlay = { driver: 'qcow2', 'node-name': 'overlay', file: 'file', backing: 'base' };
  const node = await openGraph(graph, { driver: 'copy-on-read', file: overlay });
  return { graph, node, base, file };
}

function modelOf(bytes: Uint8Array): ByteModel {
  const model = new ByteModel(SIZE);
  model.write(0, bytes);
  return model;
}

describe('copy on read', () => {
  it.each([1, 2, 3, 4])('is a disk like any other, seed %d', async (seed) => {
    const prng = new Prng(seed);
    const bytes = prng.bytes(BASE_SIZE);
    bytes.fill(0, 300 * KIB, 700 * KIB);
    const { graph, node } = await setup(bytes.slice(), prng.pick([4 * KIB, 64 * KIB]));
    await randomOperations(node, seed, 300, modelOf(bytes));
    await graph.closeAll();
  });

  it('reads the base once, and asks nobody where it did', async () => {
    const bytes = new Prng(5).bytes(BASE_SIZE);
    const { graph, node, base } = await setup(bytes);
    for (const at of [0, 100 * KIB, 1000 * KIB]) {
      same(await read(node, at + 77, 5000), bytes.subarray(at + 77, at + 5077), 'first');
    }
    const { preadv } = base.counts;
    const promises = node.stats.promises;
    for (const at of [0, 100 * KIB, 1000 * KIB]) {
      same(await read(node, at, 20 * KIB), bytes.subarray(at, at + 20 * KIB), 'again');
    }
    expect(base.counts.preadv).toBe(preadv);
    expect(node.stats.promises).toBe(promises);
    await graph.closeAll();
  });

  it('stores zeroes as zeroes, and nothing where there is no backing image', async () => {
    const { graph, node } = await setup(new Uint8Array(BASE_SIZE));
    const clusters = (): number => graph.get('overlay').state.counters!()['allocatedClusters']!;
    const before = clusters();
    await read(node, 0, SIZE);
    expect(clusters() - before).toBe(1); // an L2 table
    const source = graph.newBackend({ name: 'map', nodeName: node.name, readOnly: true });
    const map = await mapDisk(source, 0, SIZE, new Job('job', graph.context));
    expect(map.every((entry) => entry.zero)).toBe(true);
    expect(map[0]).toMatchObject({ start: 0, depth: 0, present: true });
    await graph.closeAll();
  });

  it('changes neither the generation nor what was written meanwhile', async () => {
    const bytes = new Prng(6).bytes(BASE_SIZE);
    const { graph, node, base } = await setup(bytes);
    const before = await node.generation();
    await read(node, 0, 4 * KIB);
    expect(await node.generation()).toBe(before);
    base.mode = 'held';
    const target = new Uint8Array(64 * KIB);
    const reading = node.preadv(256 * KIB, IOVector.of(target));
    const writing = node.pwritev(300 * KIB, IOVector.of(new Uint8Array(KIB).fill(7)));
    let written = false;
    void Promise.resolve(writing).then(() => (written = true));
    while (base.held.length === 0) await new Promise(setImmediate);
    expect(written).toBe(false);
    base.mode = 'microtask';
    await base.releaseAll();
    expect([await reading, await writing]).toEqual([0, 0]);
    same(target, bytes.subarray(256 * KIB, 320 * KIB), 'as it was when it was read');
    same(await read(node, 300 * KIB, KIB), new Uint8Array(KIB).fill(7), 'as it was written');
    expect(await node.generation()).not.toBe(before);
    await graph.closeAll();
  });

  it('reads on where nothing can be stored any more', async () => {
    const bytes = new Prng(7).bytes(BASE_SIZE);
    const { graph, node, base, file } = await setup(bytes);
    file.failAt('pwritev', 1, -ENOSPC);
    file.failAt('truncate', 1, -ENOSPC);
    same(await read(node, 512, 8 * KIB), bytes.subarray(512, 512 + 8 * KIB), 'once');
    same(await read(node, 512, 8 * KIB), bytes.subarray(512, 512 + 8 * KIB), 'twice');
    const { preadv } = base.counts;
    await read(node, 0, 64 * KIB);
    expect(base.counts.preadv).toBe(preadv);
    await graph.closeAll();
  });

  it('is refused over what cannot be written to', async () => {
    const graph = new Graph(testContext());
    const file = { driver: 'memory', size: KIB, 'read-only': true };
    await expect(openGraph(graph, { driver: 'copy-on-read', file })).rejects.toMatchObject({
      code: 'EROFS',
    });
    expect(graph.nodes).toEqual([]);
    const node = await openGraph(
      graph,
      { driver: 'copy-on-read', file: { driver: 'memory', size: KIB, 'read-only': false } },
      { readOnly: true },
    );
    expect(node.readOnly).toBe(true);
    await graph.closeAll();
  });

  it.skipIf(!haveQemu())('makes overlays that the real qemu-img finds good and equal', async () => {
    await withTempDir(async (folder) => {
      const prng = new Prng(8);
      const path = (name: string): string => join(folder, name);
      const bytes = prng.bytes(BASE_SIZE);
      bytes.fill(0, 128 * KIB, 400 * KIB);
      writeFileSync(path('base.raw'), bytes);
      const over = ['-b', path('base.raw'), '-F', 'raw', '-o', 'cluster_size=16k'];
      qemuImgOk('create', '-q', '-f', 'qcow2', ...over, path('top.qcow2'), `${SIZE}`);
      const graph = new Graph(testContext());
      const named = (name: string): object => ({ driver: 'file', filename: path(name) });
      const backing = { driver: 'raw', file: named('base.raw') };
      const file = { driver: 'qcow2', file: named('top.qcow2'), backing };
      const node = await openGraph(graph, { driver: 'copy-on-read', file });
      const want = new Uint8Array(SIZE);
      want.set(bytes);
      for (let i = 0; i < 40; i++) {
        const length = 1 + prng.below(40 * KIB);
        const at = prng.below(SIZE - length);
        if (i % 4 === 3) {
          const data = prng.bytes(length);
          want.set(data, at);
          expect(await node.pwritev(at, IOVector.of(data))).toBe(0);
        } else same(await read(node, at, length), want.subarray(at, at + length), `read ${i}`);
      }
      const compare = (): void => {
        const check = qemuImg('check', '-f', 'qcow2', path('top.qcow2'));
        expect(check.status, check.output).toBe(0);
        const args = ['-f', 'qcow2', '-F', 'raw', path('top.qcow2'), path('want.raw')];
        expect(qemuImgOk('compare', ...args)).toBe('Images are identical.\n');
      };
      writeFileSync(path('want.raw'), want);
      await node.flush();
      await read(node, 0, SIZE);
      await graph.closeAll();
      compare();
      // All of it is there now: the base may go.
      qemuImgOk('rebase', '-u', '-b', '', '-f', 'qcow2', path('top.qcow2'));
      compare();
    });
  });
});
