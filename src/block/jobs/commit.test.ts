// Committing overlays: the disk reads the same before, afterwards, and at every write on the way that fails or
// loses its power; and then all of it is in the base.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { OK } from '../../base/ret.ts';
import type { MaybeRet } from '../../base/ret.ts';
import { SimDisk } from '../../testing/crash-sim.ts';
import { Prng } from '../../testing/prng.ts';
import { createQcow2, read } from '../../testing/qcow2-images.ts';
import { haveQemu, qemuImg, withTempDir } from '../../testing/qemu.ts';
import { RandomOps } from '../../testing/random-disk-ops.ts';
import { testContext } from '../../testing/test-context.ts';
import { BlockError } from '../block-error.ts';
import type { BlockNode } from '../block-node.ts';
import { Graph } from '../graph.ts';
import { inactivateAll } from '../inactivate.ts';
import { openGraph } from '../open.ts';
import { registerDriver } from '../registry.ts';
import { commitAll, commitDisk } from './commit.ts';
import { Job } from './job.ts';
import type { JobOptions } from './job.ts';

const KIB = 1024;

/** All disks of a test, and what happens before each change of any. */
const disks = new Map<string, Plugged>();
let onChange: () => MaybeRet = () => OK;
/** Disks that nobody may open for writing. */
const forbidden = new Set<string>();

class Plugged extends SimDisk {
  #first(change: () => MaybeRet): MaybeRet {
    const ret = onChange();
    return ret === OK ? change() : ret;
  }
  override pwritev(offset: number, qiov: IOVector): MaybeRet {
    return this.#first(() => super.pwritev(offset, qiov));
  }
  override flush(): MaybeRet {
    return this.#first(() => super.flush());
  }
  override async truncate(length: number): Promise<number> {
    return this.#first(() => super.truncate(length));
  }
}

beforeEach(() => {
  disks.clear();
  forbidden.clear();
  onChange = () => OK;
  registerDriver('sim', async () => ({
    driver: {
      name: 'sim',
      kind: 'protocol',
      parseOptions: ({ disk }) => ({ disk: disk as string }),
      open: async ({ flags }, { disk }: { disk: string }) => {
        if (forbidden.has(disk) && !flags.readOnly) throw new BlockError('EACCES', `not for you`);
        return disks.get(disk)!;
      },
    },
  }));
});

interface Shape {
  readonly cluster: number;
  readonly size: number;
  /** Of the base: a raw disk, or a qcow2 with clusters of that size. */
  readonly base: number;
  readonly baseCluster?: number;
}
const SHAPES: readonly Shape[] = [
  { cluster: 512, size: 100 * KIB, base: 100 * KIB },
  { cluster: 4 * KIB, size: 300 * KIB + 512, base: 200 * KIB + 512 },
  { cluster: 4 * KIB, size: 150 * KIB, base: 260 * KIB, baseCluster: 512 },
  { cluster: 64 * KIB, size: 2600 * KIB, base: 700 * KIB, baseCluster: 64 * KIB },
];

async function makeDisk(name: string, format: { size: number; cluster?: number }): Promise<void> {
  const { size, cluster } = format;
  const disk = new Plugged(new Uint8Array(cluster === undefined ? size : 0));
  if (cluster !== undefined) await createQcow2(disk, size, { cluster_size: cluster });
  disks.set(name, disk);
}

/** Options for the disks `names`, the top first; all but the last one are overlays. */
function chain(names: readonly string[], last = 'raw'): Record<string, unknown> {
  const [name, ...below] = names;
  const driver = below.length > 0 ? 'qcow2' : last;
  const backing = below.length === 0 ? (driver === 'raw' ? {} : { backing: null }) : { backing: chain(below, last) }; // prettier-ignore
  return { driver, 'node-name': name, file: { driver: 'sim', disk: name }, ...backing };
}

interface Machine {
  readonly graph: Graph;
  readonly top: BlockNode;
  readonly base: BlockNode;
  readonly ops: RandomOps;
  readonly format: string;
}

/** A base and an overlay that both were written to at random, and flushed. */
async function usedMachine(shape: Shape, prng: Prng): Promise<Machine> {
  const { size, cluster, base: baseSize, baseCluster } = shape;
  const format = baseCluster === undefined ? 'raw' : 'qcow2';
  const graph = new Graph(testContext());
  const limits = { maxBytes: 20 * KIB };
  await makeDisk('base', { size: baseSize, ...(baseCluster === undefined ? {} : { cluster: baseCluster }) }); // prettier-ignore
  await makeDisk('top', { size, cluster });
  const alone = await openGraph(graph, chain(['base'], format));
  const first = new RandomOps(prng, new Uint8Array(baseSize), { ...limits, clusterSize: baseCluster ?? 4096 }); // prettier-ignore
  for (let i = 0; i < 20; i++) await first.step(alone);
  await graph.blockdevDel('base');
  const top = await openGraph(graph, chain(['top', 'base'], format));
  const model = new Uint8Array(size);
  model.set(first.model.subarray(0, size));
  const ops = new RandomOps(prng, model, { ...limits, clusterSize: cluster });
  for (let i = 0; i < 25; i++) await ops.step(top);
  expect(await top.flush()).toBe(OK);
  return { graph, top, base: graph.get('base'), ops, format };
}

function commit(graph: Graph, options: JobOptions = {}): Promise<void> {
  return commitDisk(graph, 'top', new Job('job:1', graph.context, options));
}
async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return '';
  } catch (error) {
    return error instanceof BlockError ? error.code : String(error);
  }
}

/** Nothing of the overlay is its own. */
async function expectEmpty(node: BlockNode): Promise<void> {
  for (let at = 0; at < node.length;) {
    const status = await node.blockStatus(at, node.length - at);
    if (typeof status === 'number') throw new Error(`block status: ${status}`);
    expect(status.allocated, `at ${at}`).toBe(false);
    at += status.bytes;
  }
}

/** As before the commit, but for what the disks hold. */
function expectAtRest(graph: Graph): void {
  for (const node of graph.nodes) {
    expect([node.quiescence.count, graph.isMoving(node)], node.name).toEqual([0, false]);
    for (const edge of node.children)
      if (edge.role === 'backing') expect(edge.writable).toBe(false);
  }
  expect([graph.changes.locked, graph.backends]).toEqual([false, []]);
}

it.each(SHAPES)('puts all of an overlay into its base: %o', async (shape) => {
  const prng = new Prng(shape.size);
  const { graph, top, base, ops, format } = await usedMachine(shape, prng);
  for (let round = 0; round < 3; round++) {
    const rest = (await read(base, 0, base.length)).subarray(top.length);
    const reports: number[] = [];
    await commit(graph, { onProgress: ({ done }) => reports.push(done) });
    expect(reports.at(-1)).toBe(top.length);
    await ops.check(top);
    await expectEmpty(top);
    expectAtRest(graph);
    expect([base.readOnly, base.length]).toEqual([true, Math.max(shape.size, shape.base)]);
    const below = await read(base, 0, base.length);
    expect(Buffer.compare(below.subarray(0, top.length), ops.model)).toBe(0);
    expect(Buffer.compare(below.subarray(top.length), rest)).toBe(0);
    for (let i = 0; i < 20; i++) await ops.step(top);
  }
  await graph.closeAll();
  const { model } = ops;
  const again = new Graph(testContext());
  await new RandomOps(prng, model, { clusterSize: 512, maxBytes: 512 }).check(
    await openGraph(again, chain(['top', 'base'], format)),
  );
  await again.closeAll();
  if (haveQemu()) await compareWithQemu(model, format);
});

async function compareWithQemu(model: Uint8Array, format: string): Promise<void> {
  await withTempDir(async (folder) => {
    const at = (name: string): string => join(folder, name);
    for (const [name, disk] of disks) writeFileSync(at(name), disk.snapshot());
    writeFileSync(at('model'), model);
    for (const name of format === 'raw' ? ['top'] : ['top', 'base']) {
      const check = qemuImg('check', '-f', 'qcow2', at(name));
      expect(check.status, check.output).toBe(0);
    }
    const options = `driver=qcow2,file.filename=${at('top')},backing.driver=${format},backing.file.filename=${at('base')}`;
    const compare = qemuImg('compare', '--image-opts', options, `driver=raw,file.filename=${at('model')}`); // prettier-ignore
    expect(compare.status, compare.output).toBe(0);
  });
}

it('changes nothing that is read where a write fails, and can be done again', async () => {
  for (const [i, shape] of SHAPES.slice(0, 3).entries()) {
    for (let failAt = 1, last = false; !last; failAt += 1 + Math.floor(failAt / 4)) {
      const machine = await usedMachine(shape, new Prng(i));
      const { graph, top, base, ops } = machine;
      let changes = 0;
      onChange = () => (++changes === failAt ? -28 : OK);
      const code = await codeOf(commit(graph));
      last = changes < failAt;
      onChange = () => OK;
      const what = `shape ${i}, failure ${failAt}: '${code}'`;
      if (last) expect(code, what).toBe('');
      await ops.check(top);
      expectAtRest(graph);
      expect(base.readOnly, what).toBe(true);
      // Its own header may be what failed: it then has to be opened anew.
      if (code !== '' && (await top.pwritev(0, IOVector.of(ops.model.slice(0, 512)))) >= 0) {
        await commit(graph);
        await ops.check(top);
        await expectEmpty(top);
      }
      await graph.closeAll().catch(() => {});
    }
  }
});

it('changes nothing that is read where the power fails, and leaves sound images', async () => {
  for (const [i, shape] of SHAPES.slice(0, 3).entries()) {
    for (let cutAt = 1, last = false; !last; cutAt += 1 + Math.floor(cutAt / 4)) {
      const { graph, ops, format } = await usedMachine(shape, new Prng(100 + i));
      const prng = new Prng(cutAt);
      const cut = (): void => {
        for (const disk of disks.values()) disk.wreck ??= disk.crash(prng);
      };
      let changes = 0;
      onChange = () => {
        if (++changes === cutAt) cut();
        return OK;
      };
      const code = await codeOf(commit(graph));
      last = changes < cutAt;
      if (last) expect(code).toBe('');
      onChange = () => OK;
      cut();
      for (const [name, disk] of disks) disks.set(name, new Plugged(disk.wreck!));
      const again = new Graph(testContext());
      const top = await openGraph(again, chain(['top', 'base'], format));
      await ops.check(top).catch((error: unknown) => {
        throw new Error(`shape ${i}, cut ${cutAt}: ${String(error)}`);
      });
      expect(await top.check('none')).toMatchObject({ corruptions: 0, checkErrors: 0 });
      await commitDisk(again, 'top', new Job('job:1', again.context));
      await ops.check(top);
      await again.closeAll();
    }
  }
});

it('ends with the reason of its signal, the overlay as it was', async () => {
  for (let abortAt = 1, last = false; !last; abortAt += 3) {
    const { graph, top, base, ops } = await usedMachine(SHAPES[1]!, new Prng(5));
    const controller = new AbortController();
    let changes = 0;
    onChange = () => {
      if (++changes === abortAt) controller.abort(new Error('enough'));
      return OK;
    };
    const ended = await codeOf(commit(graph, { signal: controller.signal }));
    last = ended === '';
    if (!last) expect(ended).toBe('Error: enough');
    await ops.check(top);
    expectAtRest(graph);
    expect(base.readOnly).toBe(true);
    await graph.closeAll();
  }
});

it('has requests wait, and answers them as if nothing had been', async () => {
  const { graph, top, ops } = await usedMachine(SHAPES[1]!, new Prng(6));
  const disk = graph.newBackend({ name: 'disk', nodeName: 'top' });
  const data = new Prng(7).bytes(5 * KIB);
  // A read beside a write may see either.
  const seen = new Uint8Array(top.length - 8 * KIB);
  const answers: Promise<void>[] = [];
  let answered = 0;
  let changes = 0;
  onChange = () => {
    changes += 1;
    if (changes === 3) {
      const requests = [disk.pwritev(512, IOVector.of(data)), disk.preadv(8 * KIB, IOVector.of(seen)), disk.flush()]; // prettier-ignore
      for (const ret of requests) {
        answers.push(Promise.resolve(ret).then((done) => void (answered += done === OK ? 1 : NaN)));
      }
    }
    // The last ones are the guest's own.
    if (changes > 3 && top.quiescence.count > 0) expect(answered).toBe(0);
    return OK;
  };
  await commit(graph);
  onChange = () => OK;
  await Promise.all(answers);
  expect(answered).toBe(3);
  ops.model.set(data, 512);
  expect(Buffer.compare(seen, ops.model.subarray(8 * KIB))).toBe(0);
  await ops.check(top);
  await graph.closeAll();
});

it('takes one layer of a chain at a time; all disks of a thread, but for what cannot be', async () => {
  const graph = new Graph(testContext());
  const size = 64 * KIB;
  for (const name of ['top', 'mid', 'alone', 'lone-top']) await makeDisk(name, { size, cluster: 4 * KIB }); // prettier-ignore
  for (const name of ['low', 'lone-low']) await makeDisk(name, { size });
  const top = await openGraph(graph, { driver: 'copy-on-read', 'node-name': 'filter', file: chain(['top', 'mid', 'low']) }); // prettier-ignore
  const disk = graph.newBackend({ name: 'disk', nodeName: top.name });
  const write = (value: number): unknown => disk.pwritev(4 * KIB * value, IOVector.of(new Uint8Array(4 * KIB).fill(value))); // prettier-ignore
  const held = (name: string): Promise<boolean[]> =>
    Promise.all(
      [1, 2].map(async (value) => (await read(graph.get(name), 4 * KIB * value, 1))[0] === value),
    );
  expect(await write(1)).toBe(OK);
  await commitDisk(graph, 'filter', new Job('job:1', graph.context));
  expect([await held('mid'), await held('low')]).toEqual([[true, false], [false, false]]); // prettier-ignore
  await expectEmpty(graph.get('top'));
  expect(await write(2)).toBe(OK);
  await commitDisk(graph, 'mid', new Job('job:2', graph.context)).catch((error: Error) => {
    expect(error.message).toMatch(/'mid' is read-only.*reopen/);
  });

  registerDriver('fixed', async () => ({
    driver: {
      name: 'fixed',
      kind: 'protocol',
      parseOptions: () => ({}),
      open: async () => ({ length: size, limits: disks.get('low')!.limits, preadv: () => OK, close: async () => {} }), // prettier-ignore
    },
  }));
  const lone = chain(['lone-top', 'lone-low']);
  await openGraph(graph, lone);
  await openGraph(graph, {
    ...chain(['alone'], 'qcow2'),
    backing: { driver: 'raw', file: { driver: 'fixed' } },
  });
  await openGraph(graph, { driver: 'memory', 'node-name': 'ram', size });
  const done = await commitAll(graph, new Job('job:3', graph.context));
  expect(done).toEqual(['top', 'lone-top']);
  expect([await held('mid'), await held('low')]).toEqual([[true, true], [false, false]]); // prettier-ignore
  await graph.get('lone-top').pwritev(0, IOVector.of(new Uint8Array(512).fill(9)));
  forbidden.add('mid');
  await expect(commitAll(graph, new Job('job:4', graph.context))).rejects.toMatchObject({ code: 'EROFS', message: expect.stringMatching(/'top'.*convertTo/) as string }); // prettier-ignore
  expect((await read(graph.get('lone-low'), 0, 1))[0]).toBe(9);
  await graph.closeAll();
});

it('is refused with a way out where it cannot be, and nothing has changed', async () => {
  const graph = new Graph(testContext());
  const size = 64 * KIB;
  for (const name of ['top', 'other', 'alone']) await makeDisk(name, { size, cluster: 4 * KIB });
  await makeDisk('base', { size });
  await openGraph(graph, chain(['top', 'base']));
  await openGraph(graph, { ...chain(['other'], 'qcow2'), backing: 'base' });
  await openGraph(graph, chain(['alone'], 'qcow2'));
  const job = (): Job => new Job('job:1', graph.context);
  await expect(commitDisk(graph, 'alone', job())).rejects.toMatchObject({ code: 'ENOTSUP', message: expect.stringMatching(/no backing image.*convertTo/) as string }); // prettier-ignore
  await expect(commitDisk(graph, 'top', job())).rejects.toMatchObject({ code: 'EBUSY', message: expect.stringMatching(/'base'.*'top'.*'other'/) as string }); // prettier-ignore
  expect(graph.get('base').readOnly).toBe(true);
  await graph.blockdevDel('other');
  forbidden.add('base');
  await expect(commitDisk(graph, 'top', job())).rejects.toMatchObject({ code: 'EROFS', message: expect.stringMatching(/'base'.*convertTo/) as string }); // prettier-ignore
  forbidden.clear();
  await inactivateAll(graph);
  expect(await codeOf(commitDisk(graph, 'top', job()))).toBe('EBUSY');
  await graph.closeAll();
});
