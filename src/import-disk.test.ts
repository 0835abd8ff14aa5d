// Imports and resets over an IOThread in a worker, from Blobs, Files and streams.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Progress } from './block/jobs/job.ts';
import { createDiskOn } from './create-disk.ts';
import { Disk } from './disk.ts';
import type { NodeHost } from './host/node.ts';
import { importDiskOn } from './import-disk.ts';
import type { ImportDiskOptions } from './import-disk.ts';
import { IOThread } from './iothread/iothread.ts';
import { nodeTestHost } from './testing/node-iothread.ts';
import { Prng } from './testing/prng.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'diskplane-import-'));
let host: NodeHost;
let thread: IOThread;

beforeAll(async () => {
  host = await nodeTestHost();
  thread = await IOThread.start(host, { id: 'import' });
  return async () => {
    await thread.close();
    rmSync(folder, { recursive: true });
  };
});
afterEach(async () => expect(await thread.queryBlock()).toEqual([]));

const file = { driver: 'file', filename: join(folder, 'disk.img') };
const bytes = new Prng(1).bytes(3 * MIB + 77);

function put(
  source: Blob | ReadableStream<Uint8Array>,
  options: ImportDiskOptions = {},
  target: Record<string, unknown> = file,
): Promise<void> {
  return importDiskOn(host, source, target, { thread, ...options });
}

/** A stream of `bytes` in pieces of all sizes; `pulled` counts what was asked for. */
function streamOf(pieces: () => Iterable<Uint8Array, void>): {
  stream: ReadableStream<Uint8Array>;
  seen: { pulled: number; canceled: unknown };
} {
  const seen: { pulled: number; canceled: unknown } = { pulled: 0, canceled: undefined };
  const iterator: Iterator<Uint8Array, void> = pieces()[Symbol.iterator]();
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const { done, value } = iterator.next();
        if (done === true) return controller.close();
        seen.pulled += value.length;
        controller.enqueue(value);
      },
      cancel(reason) {
        seen.canceled = reason;
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, seen };
}

function* cut(whole: Uint8Array, most: number): Generator<Uint8Array> {
  const prng = new Prng(5);
  for (let at = 0; at < whole.length;) {
    const piece = whole.subarray(at, at + 1 + prng.below(most));
    yield piece;
    at += piece.length;
  }
}

const stored = (): Uint8Array<ArrayBuffer> => readFileSync(file.filename);

describe('importDisk', () => {
  it('takes a Blob, a File and a stream, and tells how far it is', async () => {
    const sources: (Blob | ReadableStream<Uint8Array>)[] = [
      new Blob([bytes]),
      new File([bytes], 'chosen.img'),
      streamOf(() => cut(bytes, 300_000)).stream,
      streamOf(() => [bytes]).stream,
    ];
    for (const source of sources) {
      const reports: Progress[] = [];
      await put(source, { onProgress: (progress) => reports.push(progress) });
      expect(Buffer.compare(stored(), bytes)).toBe(0);
      expect(reports.at(-1)).toEqual({ done: bytes.length, total: bytes.length });
    }
    await put(streamOf(() => cut(bytes, 5000)).stream, { size: bytes.length });
    expect(Buffer.compare(stored(), bytes)).toBe(0);
  });

  it('keeps a qcow2 image one, and makes one where that is asked for', async () => {
    await createDiskOn(host, { driver: 'qcow2', size: 4 * MIB, file }, { thread });
    const image = stored();
    const other = { driver: 'file', filename: join(folder, 'other.img') };
    await put(new Blob([image]), {}, other);
    expect(Buffer.compare(readFileSync(other.filename), image)).toBe(0);
    await put(new Blob([bytes]), { size: 4 * MIB }, { driver: 'qcow2', file });
    const disk = await Disk.open(host, { driver: 'qcow2', file }, { thread });
    expect(disk.length).toBe(4 * MIB);
    const back = new Uint8Array(bytes.length);
    await disk.read(0, back);
    expect(Buffer.compare(back, bytes)).toBe(0);
    await disk.close();
  });

  it('reads a stream no faster than it is stored', async () => {
    const controller = new AbortController();
    function* endless(): Generator<Uint8Array> {
      for (;;) yield new Uint8Array(65536).fill(1);
    }
    const { stream, seen } = streamOf(endless);
    let done = 0;
    const importing = put(stream, {
      signal: controller.signal,
      onProgress: (progress) => {
        done = progress.done;
        expect(seen.pulled - done).toBeLessThanOrEqual(4 * MIB);
        if (done > 8 * MIB) controller.abort(new Error('enough'));
      },
    });
    await expect(importing).rejects.toThrow('enough');
    expect(done).toBeGreaterThan(0);
    expect(seen.canceled).toMatchObject({ message: 'enough' });
    expect(existsSync(file.filename)).toBe(false);
  });

  it('leaves nothing behind when it is aborted while the stream is silent', async () => {
    const controller = new AbortController();
    let canceled: unknown;
    const silent = new ReadableStream<Uint8Array>({
      start: (stream) => stream.enqueue(bytes),
      cancel: (reason) => void (canceled = reason),
    });
    const importing = put(silent, { signal: controller.signal, size: 2 * bytes.length });
    while (!existsSync(file.filename)) await thread.queryBlock();
    controller.abort(new Error('enough'));
    await expect(importing).rejects.toThrow('enough');
    expect(canceled).toMatchObject({ message: 'enough' });
    expect(existsSync(file.filename)).toBe(false);
    await expect(put(new Blob([bytes]), { signal: controller.signal })).rejects.toThrow('enough');
  });

  it('says what is wrong with a stream: short, long, failed, or not of bytes', async () => {
    const given = (size: number): Promise<void> =>
      put(streamOf(() => cut(bytes, 300_000)).stream, { size });
    await expect(given(bytes.length + 1)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/ended after \d+ of the \d+ bytes/) as string,
    });
    await expect(given(bytes.length - 1)).rejects.toMatchObject({ code: 'EINVAL' });
    function* broken(): Generator<Uint8Array> {
      yield bytes;
      throw new Error('the network is gone');
    }
    await expect(put(streamOf(broken).stream)).rejects.toThrow('the network is gone');
    const texts = streamOf(() => ['text' as unknown as Uint8Array]);
    await expect(put(texts.stream)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(texts.seen.canceled).toBeDefined();
    expect(existsSync(file.filename)).toBe(false);
    const { stream, seen } = streamOf(() => [bytes]);
    await expect(put(stream, {}, { driver: 'memory' })).rejects.toMatchObject({ code: 'ENOTSUP' });
    expect(seen.canceled).toMatchObject({ code: 'ENOTSUP' });
  });

  it('starts a thread where none is given, and ends it', async () => {
    await importDiskOn(host, new Blob([bytes]), file);
    expect(Buffer.compare(stored(), bytes)).toBe(0);
  });
});

describe('reset', () => {
  it('brings the backing image back, with the disk open and its device attached', async () => {
    await importDiskOn(host, new Blob([bytes.subarray(0, 2 * MIB)]), file, { thread });
    const overlay = { driver: 'file', filename: join(folder, 'overlay.qcow2'), create: true };
    const options = { driver: 'qcow2', file: overlay, backing: { driver: 'raw', file } };
    const disk = await Disk.open(host, options, { thread });
    await disk.write(100_000, new Uint8Array(MIB).fill(9));
    await disk.flush();
    const used = readFileSync(overlay.filename).length;
    const aborted = { signal: AbortSignal.abort(new Error('no longer')) };
    await expect(disk.reset(aborted)).rejects.toThrow('no longer');
    await disk.reset();
    expect(readFileSync(overlay.filename).length).toBeLessThan(used - MIB + 65536);
    const back = new Uint8Array(2 * MIB);
    await disk.read(0, back);
    expect(Buffer.compare(back, bytes.subarray(0, 2 * MIB))).toBe(0);
    await disk.write(0, new Uint8Array(512).fill(3));
    expect(await disk.check()).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
    await disk.close();
  });

  it('is refused, with a way out, where there is nothing to go back to', async () => {
    const disk = await Disk.open(host, { driver: 'memory', size: MIB }, { thread });
    await expect(disk.reset()).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining('createDisk') as string,
    });
    await disk.close();
  });
});
