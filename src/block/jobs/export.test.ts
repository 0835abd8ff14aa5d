// Exports that do not get to their end, and what they cost. That images are right: differential.test.ts.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { ControllableState } from '../../testing/controllable.ts';
import { testContext } from '../../testing/test-context.ts';
import { BlockNode } from '../block-node.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { ImageExport } from './export.ts';
import { Job } from './job.ts';
import type { JobOptions, Progress } from './job.ts';

const MIB = 1024 * 1024;

/** A node 'top' of `size` bytes that are all `value`. */
function graphOf(size: number, value: number): { graph: Graph; state: ControllableState } {
  const graph = new Graph(testContext());
  const state = new ControllableState(new Uint8Array(size).fill(value), { lacks: ['blockStatus'] });
  const parts = { name: 'top', driver: 'test', kind: 'protocol', children: [] } as const;
  const node = new BlockNode({ ...parts, context: graph.context, state, readOnly: false });
  graph.insert(node);
  graph.own(node);
  return { graph, state };
}

function begin(graph: Graph, format: string, options: JobOptions = {}): Promise<ImageExport> {
  return ImageExport.begin(graph, 'top', format, new Job('job:1', graph.context, options));
}

async function rest(image: ImageExport): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (let chunk = await image.next(); chunk !== undefined; chunk = await image.next()) {
    chunks.push(chunk);
  }
  await image.close();
  return Buffer.concat(chunks);
}

const write = (graph: Graph): number | Promise<number> =>
  graph.get('top').pwritev(0, IOVector.of(new Uint8Array(512).fill(9)));
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('an export', () => {
  it('fails when the disk is written to, at any moment but before and after', async () => {
    const { graph } = graphOf(4 * MIB, 1);
    await write(graph);
    for (let when = 0; when < 4; when++) {
      const image = await begin(graph, 'raw');
      for (let i = 0; i < when; i++) await image.next();
      await write(graph);
      await expect(rest(image)).rejects.toMatchObject({ code: 'ESTALE', node: 'top' });
      await image.close();
    }
    const image = await begin(graph, 'raw');
    const bytes = await rest(image);
    await write(graph);
    expect(bytes[0]).toBe(9);
    expect(bytes.length).toBe(4 * MIB);
    await graph.closeAll();
  });

  it('waits for writes under way, and takes none of them for nothing', async () => {
    const { graph, state } = graphOf(2 * MIB, 1);
    state.mode = 'held';
    const before = write(graph);
    const beginning = begin(graph, 'raw');
    await turn();
    state.mode = 'sync';
    state.held[0]!.release();
    expect(await before).toBe(0);
    const image = await beginning;
    await image.next();
    state.mode = 'held';
    const during = write(graph);
    state.mode = 'sync';
    const last = image.next();
    await turn();
    state.held[0]!.release();
    await expect(last).rejects.toMatchObject({ code: 'ESTALE' });
    expect(await during).toBe(0);
    await image.close();
    await graph.closeAll();
  });

  it('ends at once when aborted, and lets go of the disk when closed', async () => {
    const { graph, state } = graphOf(4 * MIB, 1);
    const controller = new AbortController();
    const image = await begin(graph, 'raw', { signal: controller.signal });
    state.mode = 'held';
    const reading = image.next();
    controller.abort(new Error('enough'));
    await expect(reading).rejects.toThrow('enough');
    await image.close();
    expect(graph.backends).toEqual([]);
    for (const call of state.held.splice(0)) call.release();
    await graph.closeAll();
  });

  it('says which formats there are, and what cannot be read', async () => {
    const { graph, state } = graphOf(2 * MIB, 1);
    await expect(begin(graph, 'vmdk')).rejects.toMatchObject({ code: 'ENOTSUP' });
    await expect(begin(graph, 'opfs')).rejects.toMatchObject({ code: 'ENOTSUP' });
    state.failAt('preadv', 2, -5);
    await expect(begin(graph, 'qcow2')).rejects.toMatchObject({ code: 'EIO' });
    expect(graph.backends).toEqual([]);
    const image = await begin(graph, 'qcow2');
    state.failAt('preadv', 1, -5);
    await expect(rest(image)).rejects.toMatchObject({ code: 'EIO' });
    await image.close();
    await graph.closeAll();
  });

  it('leaves out what is zero, also where nobody says so, and tells how far it is', async () => {
    const { graph, state } = graphOf(8 * MIB, 0);
    state.bytes.fill(1, 3 * MIB + 100, 3 * MIB + 200);
    const reports: Progress[] = [];
    const onProgress = (progress: Progress): void => void reports.push(progress);
    const image = await begin(graph, 'qcow2', { onProgress });
    // Header, refcount table and block, L1, L2, and one cluster of data.
    expect(image.length).toBe(6 * 65536);
    const bytes = await rest(image);
    expect([...bytes.subarray(5 * 65536 + 99, 5 * 65536 + 101)]).toEqual([0, 1]);
    expect(reports.at(-1)).toEqual({ done: image.length, total: image.length });
    await graph.closeAll();
  });

  it('takes as data what would have to be fetched, rather than fetch it twice', async () => {
    const { graph, state } = graphOf(8 * MIB, 0);
    state.mode = 'microtask';
    const image = await begin(graph, 'qcow2');
    expect(state.counts.preadv).toBe(1);
    expect(image.length).toBe((5 + 7 * 16) * 65536);
    await image.close();
    await graph.closeAll();
  });

  it('costs no more than the data, of a disk of a terabyte', async () => {
    const graph = new Graph(testContext());
    await openGraph(graph, { driver: 'memory', size: 2 ** 40, 'node-name': 'top' });
    const node = graph.get('top');
    for (let i = 0; i < 8; i++) {
      await node.pwritev(i * 2 ** 37, IOVector.of(new Uint8Array(4096).fill(i + 1)));
    }
    const image = await begin(graph, 'qcow2');
    expect(image.length).toBe((4 + 8 + 8) * 65536);
    const bytes = await rest(image);
    for (let i = 0; i < 8; i++) expect(bytes[(12 + i) * 65536]).toBe(i + 1);
    expect(node.stats.rdBytes).toBeLessThan(16 * 65536);
    await graph.closeAll();
  });
});
