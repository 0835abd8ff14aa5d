// Disks that move between real IOThreads while they are in use: nothing is lost, nothing fails, and
// where the target cannot take them they go on where they were.

import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { checkSavedDisk, saveDisk } from './adapters/saved-disk.ts';
import { createDiskOn } from './create-disk.ts';
import { Disk } from './disk.ts';
import type { NodeHost } from './host/node.ts';
import type { BlockdevOptions, IOThreadEvent } from './iothread/control.ts';
import { IOThread } from './iothread/iothread.ts';
import { nodeTestHost } from './testing/node-iothread.ts';
import { Prng } from './testing/prng.ts';

const MIB = 1024 * 1024;
/** Moves of one disk under load. */
const HOPS = 15;
let host: NodeHost;
let left: IOThread;
let right: IOThread;
let folder: string;
const open: Disk[] = [];

beforeAll(async () => {
  host = await nodeTestHost();
  folder = mkdtempSync(join(tmpdir(), 'diskplane-move-'));
  left = await IOThread.start(host, { id: 'left' });
  right = await IOThread.start(host, { id: 'right' });
});
afterEach(async () => {
  for (const disk of open.splice(0)) await disk.close().catch(() => {});
});
afterAll(async () => {
  await Promise.all([left.close(), right.close()]);
  rmSync(folder, { recursive: true });
});

async function openOn(thread: IOThread, what: BlockdevOptions): Promise<Disk> {
  const disk = await Disk.open(host, what, { thread });
  open.push(disk);
  return disk;
}

async function qcow2(name: string): Promise<BlockdevOptions> {
  const file = { driver: 'file', filename: join(folder, name) };
  await createDiskOn(host, { driver: 'qcow2', size: 8 * MIB, file }, { thread: left });
  return { driver: 'qcow2', file };
}

/** Random writes, zeroes, discards, reads and flushes, eight at a time, against a model. */
async function load(disk: Disk, model: Uint8Array, seed: number, until: () => boolean) {
  const part = model.length / 8;
  let operations = 0;
  await Promise.all(
    Array.from({ length: 8 }, async (_, worker) => {
      const prng = new Prng(seed * 8 + worker);
      while (!until()) {
        const offset = worker * part + prng.below(part / 512 - 128) * 512;
        const bytes = (prng.below(64) + 1) * 512;
        const kind = prng.below(10);
        operations += 1;
        if (kind < 5) {
          const data = prng.bytes(bytes);
          model.set(data, offset);
          await disk.write(offset, data);
        } else if (kind < 6) {
          model.fill(0, offset, offset + bytes);
          await disk.writeZeroes(offset, bytes);
        } else if (kind < 7) {
          await disk.flush();
        } else {
          const back = new Uint8Array(bytes);
          await disk.read(offset, back);
          const right = Buffer.compare(back, model.subarray(offset, offset + bytes)) === 0;
          expect(right, `seed ${seed}: ${bytes} bytes at ${offset}`).toBe(true);
        }
      }
    }),
  );
  return operations;
}

/** Between its thread and `other`, and back. */
async function hopUnderLoad(disk: Disk, other: IOThread): Promise<void> {
  const here = disk.thread;
  const model = new Uint8Array(8 * MIB);
  let hops = 0;
  const hopping = (async () => {
    while (hops < HOPS) {
      await disk.moveTo(disk.thread === here ? other : here);
      hops += 1;
    }
  })();
  const operations = await load(disk, model, 11, () => hops >= HOPS);
  await hopping;
  expect(operations).toBeGreaterThan(HOPS);
  const all = new Uint8Array(model.length);
  await disk.read(0, all);
  expect(Buffer.compare(all, model)).toBe(0);
  if ((await disk.stats()).nodes[0]!.driver === 'qcow2') {
    expect(await disk.check()).toMatchObject({ corruptions: 0, leaks: 0 });
  }
  const graphs = await Promise.all([here.queryBlock(), other.queryBlock()]);
  expect(graphs.filter((nodes) => nodes.length > 0)).toHaveLength(1);
}

describe('a disk that hops between two IOThreads under load', () => {
  it.each([
    ['memory', async () => ({ driver: 'memory', size: 8 * MIB })],
    ['memory that is shared', async () => ({ driver: 'memory', size: 8 * MIB, share: true })],
    ['qcow2 in a file', () => qcow2('hops.qcow2')],
    [
      'an overlay over an overlay',
      async () => ({ ...(await qcow2('top.qcow2')), backing: await qcow2('base.qcow2') }),
    ],
  ])('keeps everything: %s', async (_, options) => {
    await hopUnderLoad(await openOn(left, await options()), right);
  });

  it('keeps everything where requests are messages', async () => {
    const threads = await Promise.all(
      ['this', 'that'].map((id) => IOThread.start(host, { id, transport: 'messages' })),
    );
    await hopUnderLoad(await openOn(threads[0]!, await qcow2('sent.qcow2')), threads[1]!);
    const disk = await openOn(threads[0]!, { driver: 'memory', size: MIB });
    await expect(disk.moveTo(left)).rejects.toMatchObject({ code: 'ENOTSUP' });
    expect(disk.thread).toBe(threads[0]);
    await Promise.all(threads.map((thread) => thread.close()));
  });
});

describe('a move', () => {
  it('loses no call of the device where calls are messages, as in Firefox', async () => {
    const waitAsync = Object.getOwnPropertyDescriptor(Atomics, 'waitAsync')!;
    Reflect.deleteProperty(Atomics, 'waitAsync');
    try {
      const disk = await openOn(left, await qcow2('called.qcow2'));
      const data = new Uint8Array(4096);
      for (let hop = 0; hop < 40; hop++) {
        let over = false;
        const writing = [0, 1, 2, 3].map(async (lane) => {
          while (!over) await disk.write(lane * 4096, data);
        });
        await disk.moveTo(disk.thread === left ? right : left);
        over = true;
        // Nothing comes after these that could tell of them.
        await Promise.all(writing);
      }
    } finally {
      Object.defineProperty(Atomics, 'waitAsync', waitAsync);
    }
  });

  it('ends the thread that the disk had to itself, and keeps events coming', async () => {
    const events: IOThreadEvent[] = [];
    const disk = await Disk.open(
      host,
      { driver: 'memory', size: MIB },
      {
        onEvent: (event) => events.push(event),
      },
    );
    open.push(disk);
    const before = disk.thread;
    expect(await disk.moveTo(right)).toBeGreaterThan(0);
    expect(disk.thread).toBe(right);
    expect(before.failed?.message).toContain('was closed');
    await disk.resize(2 * MIB);
    expect(events).toMatchObject([{ event: 'BLOCK_RESIZE', length: 2 * MIB }]);
    expect(disk.length).toBe(2 * MIB);
    await disk.close();
    expect(await right.queryBlock()).toEqual([]);
  });

  it('takes along all disks that share a node, and is told of by both', async () => {
    const base = { driver: 'memory', size: MIB, 'node-name': 'shared' };
    const one = await openOn(left, base);
    const other = await openOn(left, { driver: 'raw', file: 'shared' }).catch(
      (error: unknown) => error,
    );
    // Two writers of one node are refused; what shares it reads.
    expect(other).toMatchObject({ code: 'EBUSY' });
    await one.moveTo(right);
    expect((await right.queryBlock()).map(({ nodeName }) => nodeName)).toEqual(['shared']);
  });

  it('whose target cannot open the file leaves the disk where it was', async () => {
    const options = await qcow2('away.qcow2');
    const disk = await openOn(left, options);
    await disk.write(0, new Uint8Array(4096).fill(3));
    const path = join(folder, 'away.qcow2');
    // A node of that name over there: refused before anything stops.
    const blocker = await openOn(right, { driver: 'memory', size: MIB, 'node-name': 'same' });
    const named = await openOn(left, { driver: 'memory', size: MIB, 'node-name': 'same' });
    await expect(named.moveTo(right)).rejects.toMatchObject({ code: 'EEXIST' });
    expect(named.thread).toBe(left);
    await named.write(0, new Uint8Array(512).fill(1));
    await blocker.close();
    await named.moveTo(right);
    const back = new Uint8Array(512);
    await named.read(0, back);
    expect(back.every((byte) => byte === 1)).toBe(true);
    // The file is gone when the other thread looks for it, and here again it is not to be had:
    // the one case in which a disk is lost, and everybody hears so.
    renameSync(path, `${path}.elsewhere`);
    await expect(disk.moveTo(right)).rejects.toMatchObject({ code: 'EIO' });
    await expect(disk.read(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' });
    expect(await right.queryBlock()).toHaveLength(1);
  });

  it('to a thread that is gone leaves the disk where it was', async () => {
    const gone = await IOThread.start(host, { id: 'gone' });
    const disk = await openOn(left, { driver: 'memory', size: MIB });
    await disk.write(0, new Uint8Array(512).fill(9));
    gone.terminate();
    await expect(disk.moveTo(gone)).rejects.toMatchObject({ code: 'ENODEV' });
    const back = new Uint8Array(512);
    await disk.read(0, back);
    expect(back[0]).toBe(9);
  });

  it.each([0, 4, 8])(
    'whose target dies on the way, %d turns after its beginning, loses at most the disk with it',
    async (turns) => {
      const target = await IOThread.start(host, { id: 'target' });
      const disk = await openOn(left, await qcow2(`dying-${turns}.qcow2`));
      await disk.write(0, new Uint8Array(4096).fill(turns + 1));
      const moving = disk.moveTo(target).then(
        () => target,
        () => left,
      );
      for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
      target.terminate();
      const where = await moving;
      expect(disk.thread).toBe(where);
      const back = new Uint8Array(4096);
      const reading = disk.read(0, back);
      if (where === left) await reading;
      else await expect(reading).rejects.toMatchObject({ code: 'ENODEV' });
      if (where === left) expect(back.every((byte) => byte === turns + 1)).toBe(true);
      await disk.close().catch(() => {});
      expect(await left.queryBlock()).toEqual([]);
    },
  );

  it.each([0, 4, 8])(
    'whose source dies on the way, %d turns after its beginning, leaves nothing on the target',
    async (turns) => {
      const source = await IOThread.start(host, { id: 'source' });
      const disk = await openOn(source, await qcow2(`left-${turns}.qcow2`));
      const moving = disk.moveTo(right).then(
        () => right,
        () => source,
      );
      for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
      source.terminate();
      const where = await moving;
      expect(disk.thread).toBe(where);
      const reading = disk.read(0, new Uint8Array(512));
      if (where === right) await reading;
      else await expect(reading).rejects.toMatchObject({ code: 'ENODEV' });
      await disk.close().catch(() => {});
      expect(await right.queryBlock()).toEqual([]);
    },
  );

  it('leaves states valid that were saved before it', async () => {
    const disk = await openOn(left, { driver: 'memory', size: MIB });
    await disk.write(0, new Uint8Array(512).fill(1));
    const saved = await saveDisk(disk);
    const moving = disk.moveTo(right);
    checkSavedDisk(saved, await saveDisk(disk)); // asked while it moves
    await moving;
    checkSavedDisk(saved, await saveDisk(disk));
    await disk.write(0, new Uint8Array(512).fill(2));
    const written = await saveDisk(disk);
    expect(() => checkSavedDisk(saved, written)).toThrow('was written to since');
  });

  it('is not begun by an aborted call', async () => {
    const disk = await openOn(left, { driver: 'memory', size: MIB });
    const signal = AbortSignal.abort(new Error('no'));
    await expect(disk.moveTo(right, { signal })).rejects.toThrow('no');
    expect(disk.thread).toBe(left);
  });
});
