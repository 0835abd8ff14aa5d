import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { BlockError } from './block/block-error.ts';
import { createDiskOn } from './create-disk.ts';
import { Disk } from './disk.ts';
import type { OpenDiskOptions } from './disk-options.ts';
import type { NodeHost } from './host/node.ts';
import type { BlockdevOptions } from './iothread/control.ts';
import { IOThread } from './iothread/iothread.ts';
import { nodeTestHost } from './testing/node-iothread.ts';
import { Prng } from './testing/prng.ts';

const MIB = 1024 * 1024;
let host: NodeHost;
const folder = mkdtempSync(join(tmpdir(), 'diskplane-'));
const open: Disk[] = [];

beforeAll(async () => {
  host = await nodeTestHost();
  return () => rmSync(folder, { recursive: true });
});
afterEach(async () => {
  for (const disk of open.splice(0)) await disk.close().catch(() => {});
});

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

describe.each(['shared', 'messages'] as const)('Disk over an IOThread, %s', (transport) => {
  const openDisk = (what: string | BlockdevOptions, options: OpenDiskOptions = {}): Promise<Disk> =>
    Disk.open(host, what, { transport, ...options });

  async function memoryDisk(size = 4 * MIB): Promise<Disk> {
    const disk = await openDisk({ driver: 'memory', size });
    open.push(disk);
    return disk;
  }

  it('reads what was written, any byte range, and more than fits into one request', async () => {
    const disk = await memoryDisk();
    const data = new Prng(1).bytes(3 * MIB + 777);
    await disk.write(1234, data);
    const back = new Uint8Array(data.length);
    await disk.read(1234, back);
    expect(same(back, data)).toBe(true);
    const edge = new Uint8Array(4);
    await disk.read(1232, edge);
    expect([...edge]).toEqual([0, 0, data[0], data[1]]);
  });

  it.each([
    ['writeback', 0, 1],
    ['writethrough', 2, 3],
    ['unsafe', 0, 0],
  ] as const)('syncs storage as the cache mode says: %s', async (cache, written, flushed) => {
    const filename = join(folder, `${transport}-${cache}.raw`);
    const disk = await openDisk(
      { driver: 'raw', file: { driver: 'file', filename, create: true, size: MIB } },
      { cache },
    );
    open.push(disk);
    expect(disk.enableWriteCache).toBe(cache !== 'writethrough');
    const syncs = async (): Promise<number> => {
      const { nodes, counts } = await disk.stats();
      const file = nodes.find((node) => node.driver === 'file')!.nodeName;
      return counts.find((node) => node.nodeName === file)!.counters['hostFlushes']!;
    };
    await disk.write(0, new Uint8Array(512).fill(1));
    await disk.writeZeroes(512, 512);
    expect(await syncs()).toBe(written);
    await disk.write(0, new Uint8Array(512).fill(2));
    await disk.flush();
    expect(await syncs()).toBe(flushed);
  });

  it('has a generation that outlives it, until something is written', async () => {
    const file = { driver: 'file', filename: join(folder, 'generation.qcow2') };
    await createDiskOn(host, { driver: 'qcow2', file, size: MIB });
    const generations: string[] = [];
    for (const change of [0, 0, 1]) {
      const disk = await Disk.open(host, { driver: 'qcow2', file });
      open.push(disk);
      if (change) await disk.write(0, new Uint8Array(512).fill(1));
      generations.push(await disk.generation());
      await disk.close();
    }
    const [first, second, third] = generations;
    expect(first).toMatch(/^[!-~]{1,64}$/);
    expect(second).toBe(first);
    expect(third).not.toBe(first);
    const disk = await memoryDisk();
    await disk.close();
    await expect(disk.generation()).rejects.toMatchObject({ code: 'ENODEV' });
  });

  it('is read-only for a while, takes another backing file, and moves on as it is then', async () => {
    const thread = await IOThread.start(host, { transport });
    const base = await thread.blockdevAdd({ driver: 'memory', size: MIB, 'node-name': 'base' });
    const old = { driver: 'memory', size: MIB };
    await createDiskOn(host, {
      driver: 'qcow2',
      size: MIB,
      file: { driver: 'file', filename: join(folder, 'r.qcow2') },
    });
    const disk = await openDisk(
      {
        driver: 'qcow2',
        file: { driver: 'file', filename: join(folder, 'r.qcow2') },
        backing: old,
      },
      { thread },
    );
    open.push(disk);
    await disk.write(0, new Uint8Array(512).fill(7));
    await disk.reopen({ 'read-only': true, 'cache-size': '1M' });
    expect(disk.readOnly).toBe(true);
    await expect(disk.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EROFS' });
    await disk.reopen({ 'read-only': false, backing: base });
    await expect(disk.reopen({ nonsense: 1 })).rejects.toThrow(/nonsense/);
    const target = await IOThread.start(host, { transport });
    await disk.moveTo(target);
    await thread.close();
    await disk.write(512, new Uint8Array(512).fill(8));
    const nodes = await target.queryBlock();
    expect(nodes.find(({ nodeName }) => nodeName === disk.rootNode)).toMatchObject({
      readOnly: false,
      children: [{ role: 'file' }, { role: 'backing', nodeName: 'base' }],
    });
    const buffer = new Uint8Array(1024);
    await disk.read(0, buffer);
    expect([buffer[0], buffer[512]]).toEqual([7, 8]);
    await disk.close();
    await target.close();
  });

  it('lets go of its image while it is inactive, and may be closed so', async () => {
    const disk = await memoryDisk(MIB);
    await disk.write(0, new Uint8Array(512).fill(7));
    await disk.thread.inactivateAll();
    const buffer = new Uint8Array(512);
    await expect(disk.read(0, buffer)).rejects.toMatchObject({ code: 'EPERM' });
    await expect(disk.write(0, buffer)).rejects.toMatchObject({ code: 'EPERM' });
    await expect(disk.reopen({ 'read-only': true })).rejects.toThrow(/inactive/);
    await disk.flush();
    await disk.thread.activateAll();
    await disk.read(0, buffer);
    expect(buffer[0]).toBe(7);
    await disk.thread.inactivateAll();
    await disk.close();
  });

  it('takes requests that need more than all of the memory between page and thread', async () => {
    const disk = await memoryDisk(16 * MIB);
    const data = new Prng(2).bytes(16 * MIB);
    for (let round = 0; round < 5; round++) await disk.write(0, data);
    const back = new Uint8Array(data.length);
    for (let round = 0; round < 5; round++) await disk.read(0, back);
    expect(same(back, data)).toBe(true);
  });

  it('keeps a byte model through random operations, many at a time', async () => {
    const seed = 7;
    const prng = new Prng(seed);
    const disk = await memoryDisk(MIB);
    const model = new Uint8Array(MIB);
    for (let round = 0; round < 60; round++) {
      // Eight operations in flight, each in its own eighth, so that their order does not matter.
      await Promise.all(
        Array.from({ length: 8 }, async (_, part) => {
          const base = (part * MIB) / 8;
          const offset = base + prng.below(60_000);
          const bytes = prng.below(60_000) + 1;
          if (prng.chance(50)) {
            const data = prng.bytes(bytes);
            model.set(data, offset);
            await disk.write(offset, data);
          } else if (prng.chance(30)) {
            const start = offset - (offset % 512);
            model.fill(0, start, start + 4096);
            await disk.writeZeroes(start, 4096);
          } else {
            const back = new Uint8Array(bytes);
            await disk.read(offset, back);
            const wanted = model.subarray(offset, offset + bytes);
            expect(same(back, wanted), `seed ${seed}, round ${round}`).toBe(true);
          }
        }),
      );
    }
  });

  it('names what is wrong with a request', async () => {
    const disk = await memoryDisk(MIB);
    await expect(disk.read(MIB - 10, new Uint8Array(11))).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining(`${MIB} bytes`) as string,
    });
    await expect(disk.writeZeroes(1, 512)).rejects.toMatchObject({ code: 'EINVAL' });
    const readOnly = await openDisk('null-co://', { readOnly: true });
    open.push(readOnly);
    await expect(readOnly.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EROFS' });
  });

  it('resizes, and its length follows', async () => {
    const disk = await memoryDisk(MIB);
    await disk.resize(2 * MIB);
    expect(disk.length).toBe(2 * MIB);
    await disk.write(2 * MIB - 512, new Uint8Array(512).fill(1));
    await expect(disk.resize(1000)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('rejects with the reason of an aborted signal, before and during', async () => {
    const disk = await openDisk({ driver: 'null-co', size: MIB, 'latency-ns': 50_000_000 });
    open.push(disk);
    const gone = AbortSignal.abort(new Error('changed my mind'));
    await expect(disk.read(0, new Uint8Array(512), { signal: gone })).rejects.toThrow('my mind');
    const controller = new AbortController();
    const reading = disk.read(0, new Uint8Array(512), { signal: controller.signal });
    controller.abort(new Error('too slow'));
    await expect(reading).rejects.toThrow('too slow');
    await disk.read(0, new Uint8Array(512));
  });

  it('keeps code and cause of an error across the worker', async () => {
    const missing = join(folder, 'missing.img');
    const error = await openDisk({ driver: 'file', filename: missing }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(BlockError);
    expect(error).toMatchObject({ code: 'ENOENT' });
    await expect(openDisk({ driver: 'memory', sise: 1 })).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining('sise') as string,
    });
  });

  it('fails every call at once when its worker dies, and says so', async () => {
    const events: string[] = [];
    const disk = await openDisk(
      { driver: 'null-co', size: MIB, 'latency-ns': 60_000_000_000 },
      { onEvent: ({ event }) => events.push(event) },
    );
    const reading = disk.read(0, new Uint8Array(512));
    const flushing = disk.stats();
    await flushing;
    disk.thread.terminate();
    await expect(reading).rejects.toMatchObject({ code: 'ENODEV' });
    await expect(disk.read(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'ENODEV' });
    await expect(disk.stats()).rejects.toMatchObject({ code: 'ENODEV' });
    expect(events).toContain('IOTHREAD_FAILED');
    await disk.close();
  });

  it('makes a qcow2 overlay over a raw file, keeps it, and exports it', async () => {
    const base = join(folder, 'base.img');
    const overlay = join(folder, 'overlay.qcow2');
    const create = { driver: 'file', filename: base, size: 4 * MIB };
    await createDiskOn(host, create);
    const raw = await openDisk({ driver: 'raw', file: { driver: 'file', filename: base } });
    const data = new Prng(3).bytes(4 * MIB);
    await raw.write(0, data);
    await raw.close();

    await createDiskOn(host, {
      driver: 'qcow2',
      size: 4 * MIB,
      file: { driver: 'file', filename: overlay },
    });
    const graph = {
      driver: 'qcow2',
      file: { driver: 'file', filename: overlay },
      backing: { driver: 'raw', 'read-only': true, file: { driver: 'file', filename: base } },
    };
    const first = await openDisk(graph);
    const patch = new Prng(4).bytes(100_000);
    await first.write(1_000_000, patch);
    data.set(patch, 1_000_000);
    await first.close();

    const second = await openDisk(graph);
    open.push(second);
    const back = new Uint8Array(4 * MIB);
    await second.read(0, back);
    expect(same(back, data)).toBe(true);
    expect(await second.check()).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
    const parts: Uint8Array[] = [];
    for await (const part of second.exportNode()) parts.push(part);
    expect(same(Buffer.concat(parts), readFileSync(overlay))).toBe(true);
    const { nodes, counts } = await second.stats();
    expect(nodes.map((node) => node.driver).sort()).toEqual(['file', 'file', 'qcow2', 'raw']);
    const root = counts.find((count) => count.nodeName === second.rootNode)!;
    expect(root.readBytes).toBe(4 * MIB);
  });

  it('makes an overlay where the file says `create` and is empty, and keeps it ever after', async () => {
    const base = join(folder, 'made-base.img');
    await createDiskOn(host, { driver: 'file', filename: base, size: MIB });
    const graph = {
      driver: 'qcow2',
      file: { driver: 'file', filename: join(folder, 'made.qcow2'), create: true },
      backing: { driver: 'raw', file: { driver: 'file', filename: base } },
    };
    const first = await openDisk(graph);
    expect(first.length).toBe(MIB);
    await first.write(0, new Uint8Array(512).fill(5));
    await first.close();
    const second = await openDisk(graph);
    open.push(second);
    const back = new Uint8Array(512);
    await second.read(0, back);
    expect(back.every((byte) => byte === 5)).toBe(true);
    const nowhere = { driver: 'file', filename: join(folder, 'no-size.qcow2'), create: true };
    await expect(openDisk({ driver: 'qcow2', file: nowhere })).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining("'size' or 'backing'") as string,
    });
  });

  it('shares one thread among disks, and lets none of them close it', async () => {
    const thread = await IOThread.start(host, { id: 'shared', transport });
    const a = await openDisk({ driver: 'memory', size: MIB }, { thread });
    const b = await openDisk({ driver: 'memory', size: MIB }, { thread });
    await a.write(0, new Uint8Array(512).fill(1));
    await a.close();
    await b.write(0, new Uint8Array(512).fill(2));
    expect((await thread.queryBlock()).length).toBe(1);
    await b.close();
    expect(await thread.queryBlock()).toEqual([]);
    await thread.close();
    await expect(thread.queryBlock()).rejects.toMatchObject({ code: 'ENODEV' });
  });

  it('refuses what comes after it was closed', async () => {
    const disk = await memoryDisk();
    await disk.close();
    const late = [disk.read(0, new Uint8Array(512)), disk.write(3, Uint8Array.of(1)), disk.flush()];
    for (const request of late) await expect(request).rejects.toMatchObject({ code: 'ENODEV' });
  });

  it('lets go of the disk even where its last flush fails', async () => {
    const thread = await IOThread.start(host, { id: 'full', transport });
    const file = { driver: 'file', filename: join(folder, `full-${transport}.img`) };
    await createDiskOn(host, { ...file, size: MIB });
    const disk = await openDisk({ driver: 'raw', file }, { thread });
    const full = new BlockError('ENOSPC', 'storage is full');
    vi.spyOn(disk, 'flush').mockRejectedValue(full);
    await expect(disk.close()).rejects.toBe(full);
    expect(await thread.queryBlock()).toEqual([]);
    const again = await openDisk({ driver: 'raw', file }, { thread });
    await again.close();
    await thread.close();
  });

  it('starts a thread that polls as told, says how, and can be told otherwise', async () => {
    const thread = await IOThread.start(host, { id: 'polls', pollMaxNs: 9000, pollGrow: 3 });
    const poll = async (): Promise<unknown> => {
      const { pollMaxNs, pollGrow, pollShrink, pollNs } = await thread.queryIothread();
      expect(pollNs).toBeLessThanOrEqual(pollMaxNs);
      return { pollMaxNs, pollGrow, pollShrink };
    };
    expect(await poll()).toEqual({ pollMaxNs: 9000, pollGrow: 3, pollShrink: 0 });
    await thread.setPoll({ pollMaxNs: 0, pollShrink: 2 });
    expect(await poll()).toEqual({ pollMaxNs: 0, pollGrow: 3, pollShrink: 2 });
    await expect(thread.setPoll({ pollGrow: -1 })).rejects.toMatchObject({ code: 'EINVAL' });
    await thread.close();
    await expect(IOThread.start(host, { pollMaxNs: 0.5 })).rejects.toMatchObject({
      code: 'EINVAL',
    });
  });

  it('does not start where the worker cannot be loaded, and says why', async () => {
    const { NodeHost } = await import('./host/node.ts');
    const broken = new NodeHost(new URL('file:///does/not/exist.mjs'));
    await expect(IOThread.start(broken)).rejects.toMatchObject({
      code: 'ENODEV',
      message: expect.stringContaining('exist.mjs') as string,
    });
  });
});
