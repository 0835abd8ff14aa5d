// What takes long, over an IOThread in a worker: progress, abort, and a disk that is closed meanwhile.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Progress } from './block/jobs/job.ts';
import { Disk } from './disk.ts';
import type { NodeHost } from './host/node.ts';
import { IOThread } from './iothread/iothread.ts';
import { nodeTestHost } from './testing/node-iothread.ts';
import { Prng } from './testing/prng.ts';

const MIB = 1024 * 1024;
let host: NodeHost;
const folder = mkdtempSync(join(tmpdir(), 'diskplane-jobs-'));
const open: Disk[] = [];

beforeAll(async () => {
  host = await nodeTestHost();
  return () => rmSync(folder, { recursive: true });
});
afterEach(async () => {
  for (const disk of open.splice(0)) await disk.close().catch(() => {});
});

async function openDisk(options: Record<string, unknown>, thread?: IOThread): Promise<Disk> {
  const disk = await Disk.open(host, options, thread === undefined ? {} : { thread });
  open.push(disk);
  return disk;
}

/** A disk whose reads take so long that whatever reads it can only be aborted. */
function slowDisk(thread?: IOThread): Promise<Disk> {
  const latency = { 'latency-ns': 1e12 };
  return openDisk({ driver: 'null-co', size: 64 * MIB, ...latency }, thread);
}

const fileAt = (name: string): { driver: string; filename: string } => ({
  driver: 'file',
  filename: join(folder, name),
});

describe('convertTo', () => {
  it('makes a raw and a qcow2 image of the disk, and tells how far it is', async () => {
    const disk = await openDisk({ driver: 'memory', size: 4 * MIB + 512 });
    const data = new Prng(1).bytes(MIB);
    await disk.write(2 * MIB, data);
    const reports: Progress[] = [];
    const onProgress = (progress: Progress): void => void reports.push(progress);
    await disk.convertTo({ driver: 'raw', file: fileAt('a.raw') }, { onProgress });
    const bytes = readFileSync(join(folder, 'a.raw'));
    expect(bytes.length).toBe(disk.length);
    expect(Buffer.compare(bytes.subarray(2 * MIB, 3 * MIB), data)).toBe(0);
    expect(reports.at(-1)).toEqual({ done: disk.length, total: disk.length });
    await disk.convertTo({ driver: 'qcow2', file: fileAt('a.qcow2') });
    const copy = await openDisk({ driver: 'qcow2', file: fileAt('a.qcow2') });
    const back = new Uint8Array(MIB);
    await copy.read(2 * MIB, back);
    expect(Buffer.compare(back, data)).toBe(0);
    expect(await copy.check()).toMatchObject({ corruptions: 0, leaks: 0, totalClusters: 65 });
  });

  it('ends with the reason of its signal, with nothing left behind', async () => {
    const disk = await slowDisk();
    const controller = new AbortController();
    const { signal } = controller;
    const target = { driver: 'raw', file: fileAt('aborted.raw') };
    const converting = disk.convertTo(target, { signal });
    // The thread answers in order, so the job has begun.
    await disk.stats();
    controller.abort(new Error('changed my mind'));
    await expect(converting).rejects.toThrow('changed my mind');
    expect(existsSync(target.file.filename)).toBe(false);
    await expect(disk.convertTo(target, { signal })).rejects.toThrow('changed my mind');
  });

  it('ends when the disk is closed, on a thread that stays', async () => {
    const thread = await IOThread.start(host, { id: 'stays' });
    const disk = await slowDisk(thread);
    const target = { driver: 'raw', file: fileAt('closed.raw') };
    const converting = disk.convertTo(target);
    await disk.stats();
    const closing = disk.close();
    await expect(converting).rejects.toMatchObject({ code: 'ENODEV' });
    await closing;
    expect(existsSync(target.file.filename)).toBe(false);
    await expect(disk.convertTo(target)).rejects.toMatchObject({ code: 'ENODEV' });
    await thread.close();
  });
});

describe('commit', () => {
  it('puts an overlay in a file into its base, of one disk and of all', async () => {
    const base = fileAt('base.raw');
    await writeFile(base.filename, new Uint8Array(MIB).fill(1));
    const thread = await IOThread.start(host, { id: 'commits' });
    const make = (name: string): Promise<void> =>
      thread.blockdevCreate({ driver: 'qcow2', size: 2 * MIB, file: fileAt(name) });
    await make('top.qcow2');
    await make('alone.qcow2');
    const backing = { driver: 'raw', file: base };
    const disk = await openDisk({ driver: 'qcow2', file: fileAt('top.qcow2'), backing }, thread);
    const alone = await openDisk({ driver: 'qcow2', file: fileAt('alone.qcow2') }, thread);
    await disk.write(MIB, new Uint8Array(MIB).fill(2));
    const reports: Progress[] = [];
    await disk.commit({ onProgress: (progress) => reports.push(progress) });
    expect(reports.at(-1)).toEqual({ done: 2 * MIB, total: 2 * MIB });
    expect((await disk.map()).map(({ depth }) => depth)).toEqual([1]);
    await disk.write(0, new Uint8Array(512).fill(3));
    expect(await thread.commitAll()).toEqual([disk.rootNode]);
    await expect(alone.commit()).rejects.toMatchObject({ code: 'ENOTSUP' });
    const signal = AbortSignal.abort(new Error('no longer'));
    await expect(disk.commit({ signal })).rejects.toThrow('no longer');
    await disk.close();
    await alone.close();
    await thread.close();
    const bytes = readFileSync(base.filename);
    expect([bytes.length, bytes[0], bytes[512], bytes[MIB - 1], bytes[MIB]]).toEqual([2 * MIB, 3, 1, 1, 2]); // prettier-ignore
  });
});

async function bytesOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(
    await new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer(),
  );
}

describe('exportImage', () => {
  it('streams the disk as raw and as qcow2', async () => {
    const disk = await openDisk({ driver: 'memory', size: 5 * MIB });
    const data = new Prng(2).bytes(MIB + 512);
    await disk.write(3 * MIB, data);
    const reports: Progress[] = [];
    const onProgress = (progress: Progress): void => void reports.push(progress);
    const raw = await bytesOf(disk.exportImage({ onProgress }));
    expect(raw.length).toBe(5 * MIB);
    expect(Buffer.compare(raw.subarray(3 * MIB, 4 * MIB + 512), data)).toBe(0);
    expect(raw.subarray(0, 3 * MIB).every((byte) => byte === 0)).toBe(true);
    expect(reports.at(-1)).toEqual({ done: raw.length, total: raw.length });
    const qcow2 = await bytesOf(disk.exportImage({ format: 'qcow2' }));
    expect(qcow2.length).toBe((5 + 17) * 65536);
    await writeFile(join(folder, 'exported.qcow2'), qcow2);
    const copy = await openDisk({ driver: 'qcow2', file: fileAt('exported.qcow2') });
    expect(Buffer.compare(await bytesOf(copy.exportImage()), raw)).toBe(0);
  });

  it('reads no further than it is asked to, and lets go when nobody wants more', async () => {
    const disk = await openDisk({ driver: 'memory', size: 64 * MIB });
    const reader = disk.exportImage().getReader();
    await reader.read();
    for (let i = 0; i < 5; i++) await disk.stats();
    const { nodes, counts } = await disk.stats();
    expect(counts[0]!.readBytes).toBeLessThanOrEqual(3 * MIB);
    expect(nodes[0]!.users.length).toBe(2);
    await reader.cancel();
    expect((await disk.stats()).nodes[0]!.users.length).toBe(1);
    for await (const chunk of disk.exportNode()) {
      expect(chunk.length).toBe(MIB);
      break;
    }
    expect((await disk.stats()).nodes[0]!.users.length).toBe(1);
  });

  it('ends with an error: aborted, closed, written to, or no longer there', async () => {
    const disk = await openDisk({ driver: 'memory', size: 8 * MIB });
    const controller = new AbortController();
    const aborted = disk.exportImage({ signal: controller.signal }).getReader();
    await aborted.read();
    controller.abort(new Error('enough'));
    await expect(aborted.read()).rejects.toThrow('enough');
    const { signal } = controller;
    await expect(disk.exportImage({ signal }).getReader().read()).rejects.toThrow('enough');

    const stale = disk.exportImage().getReader();
    await stale.read();
    await disk.write(0, new Uint8Array(512).fill(1));
    await expect(readToEnd(stale)).rejects.toMatchObject({ code: 'ESTALE' });

    const closed = disk.exportImage().getReader();
    await closed.read();
    await disk.close();
    await expect(readToEnd(closed)).rejects.toMatchObject({ code: 'ENODEV' });
    expect(() => disk.exportImage()).toThrow(/closed/);

    const slow = await slowDisk();
    const reading = slow.exportImage().getReader().read();
    await slow.stats();
    slow.thread.terminate();
    await expect(reading).rejects.toMatchObject({ code: 'ENODEV' });
  });
});

async function readToEnd(reader: ReadableStreamDefaultReader): Promise<void> {
  while (!(await reader.read()).done);
}

describe('map', () => {
  it('tells what is stored, of all or of a part', async () => {
    const disk = await openDisk({ driver: 'memory', size: 4 * MIB });
    await disk.write(MIB, new Uint8Array(65536).fill(1));
    const common = { depth: 0, present: true };
    expect(await disk.map()).toEqual([
      { start: 0, length: MIB, ...common, zero: true, data: false },
      { start: MIB, length: 65536, ...common, zero: false, data: true },
      { start: MIB + 65536, length: 3 * MIB - 65536, ...common, zero: true, data: false },
    ]);
    expect(await disk.map({ offset: MIB + 4096, bytes: 8192 })).toEqual([
      { start: MIB + 4096, length: 8192, ...common, zero: false, data: true },
    ]);
    await expect(disk.map({ offset: -1 })).rejects.toMatchObject({ code: 'EINVAL' });
    const signal = AbortSignal.abort(new Error('no longer'));
    await expect(disk.map({ signal })).rejects.toThrow('no longer');
  });
});

describe('an abort', () => {
  it('of an opening lets go of what was opened all the same', async () => {
    const thread = await IOThread.start(host, { id: 'opens' });
    const controller = new AbortController();
    const opening = Disk.open(
      host,
      { driver: 'memory', size: MIB },
      { thread, signal: controller.signal },
    );
    controller.abort(new Error('too late'));
    await expect(opening).rejects.toThrow('too late');
    while ((await thread.queryBlock()).length > 0) await thread.queryIothread();
    await thread.close();
  });

  it('reaches every call that takes a signal', async () => {
    const disk = await openDisk({ driver: 'memory', size: MIB });
    const options = { signal: AbortSignal.abort(new Error('no longer')) };
    for (const call of [
      disk.stats(options),
      disk.resize(2 * MIB, options),
      disk.check('none', options),
      disk.map(options),
      disk.flush(options),
    ]) {
      await expect(call).rejects.toThrow('no longer');
    }
    expect(disk.length).toBe(MIB);
  });
});
