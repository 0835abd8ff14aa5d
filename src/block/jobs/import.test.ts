// Imports of Blobs and of chunks: what arrives, and what is left of those that do not get to their end.

import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { IdbDouble } from '../../testing/idb-double.ts';
import { OpfsDouble } from '../../testing/opfs-double.ts';
import { Prng } from '../../testing/prng.ts';
import { read } from '../../testing/qcow2-images.ts';
import { testContext } from '../../testing/test-context.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { idbDriver } from '../protocols/idb.ts';
import { opfsDriver } from '../protocols/opfs.ts';
import { registerDriver } from '../registry.ts';
import { ImageImport, importBlob } from './import.ts';
import { Job } from './job.ts';
import type { JobOptions, Progress } from './job.ts';

const MIB = 1024 * 1024;
let opfs: OpfsDouble;
let idb: IdbDouble;
let graph: Graph;
let jobs = 0;

beforeAll(() => {
  const files = { root: () => opfs.root(), locks: () => opfs.locks() };
  registerDriver('opfs', async () => ({ driver: opfsDriver(files) }));
  registerDriver('idb', async () => ({
    driver: idbDriver({
      factory: () => idb.factory(),
      has: (database) => idb.has(database),
      range: (first, last) => idb.range(first, last),
      locks: () => idb.locks(),
    }),
  }));
});
beforeEach(() => {
  opfs = new OpfsDouble();
  idb = new IdbDouble();
  graph = new Graph(testContext());
});

const newJob = (options: JobOptions = {}): Job =>
  new Job(`job:${(jobs += 1)}`, graph.context, options);
const FILE = { driver: 'opfs', path: 'a/disk.img' };
const DATABASE = { driver: 'idb', database: 'disk' };

/** Some data, some zeroes, and no whole number of sectors. */
function someBytes(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(5 * MIB + 77);
  bytes.set(new Prng(1).bytes(MIB + 5), 2 * MIB - 3);
  bytes.set(new Prng(2).bytes(7), bytes.length - 7);
  return bytes;
}

async function contents(options: object): Promise<Uint8Array> {
  const node = await openGraph(graph, { ...options }, { readOnly: true });
  const bytes = await read(node, 0, node.length);
  await graph.blockdevDel(node.name);
  return bytes;
}

function nothingLeft(): void {
  expect([...opfs.files.keys()]).toEqual([]);
  expect([...idb.databases.keys()]).toEqual([]);
  expect(opfs.openHandles + idb.openConnections).toBe(0);
  expect(graph.nodes).toEqual([]);
  expect(graph.backends).toEqual([]);
}

/** Hands in `bytes` in chunks of up to `chunk` bytes. */
async function push(image: ImageImport, bytes: Uint8Array, chunk: number): Promise<void> {
  for (let at = 0; at < bytes.length; at += chunk) await image.write(bytes.slice(at, at + chunk));
}

describe.each([
  ['opfs', FILE],
  ['idb', DATABASE],
])('into %s', (_name, target) => {
  it('a Blob comes byte for byte, and tells how far it is', async () => {
    const bytes = someBytes();
    const reports: Progress[] = [];
    const onProgress = (progress: Progress): void => void reports.push(progress);
    await importBlob(graph, new Blob([bytes]), target, newJob({ onProgress }));
    expect(Buffer.compare(await contents(target), bytes)).toBe(0);
    expect(reports.at(-1)).toEqual({ done: bytes.length, total: bytes.length });
    // Again, over what is there.
    await importBlob(graph, new Blob([bytes.subarray(0, MIB)]), target, newJob());
    expect(Buffer.compare(await contents(target), bytes.subarray(0, MIB))).toBe(0);
  });

  it('chunks come byte for byte, whether or not their sum is known', async () => {
    const bytes = someBytes();
    for (const [size, chunk] of [
      [bytes.length, 700_001],
      [undefined, MIB],
    ] as const) {
      // prettier-ignore
      const image = new ImageImport(graph, target, size, newJob());
      await image.ready;
      await push(image, bytes, chunk);
      await image.finish();
      expect(Buffer.compare(await contents(target), bytes)).toBe(0);
    }
  });

  it('nothing is left of one that is aborted, too short or too long', async () => {
    const bytes = someBytes();
    const controller = new AbortController();
    const { signal } = controller;
    const image = new ImageImport(graph, target, bytes.length, newJob({ signal }));
    await push(image, bytes.subarray(0, 3 * MIB), MIB);
    controller.abort(new Error('enough'));
    await expect(image.write(bytes)).rejects.toThrow('enough');
    await expect(image.finish()).rejects.toThrow('enough');
    nothingLeft();

    const short = new ImageImport(graph, target, bytes.length, newJob());
    await short.write(bytes.subarray(0, 1000));
    await expect(short.finish()).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringContaining(`1000 of the ${bytes.length} bytes`) as string,
    });
    nothingLeft();

    const long = new ImageImport(graph, target, 1000, newJob());
    await expect(long.write(bytes)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(long.over).rejects.toMatchObject({ code: 'EINVAL' });
    nothingLeft();

    await expect(importBlob(graph, new Blob([bytes]), target, newJob({ signal }))).rejects.toThrow(
      'enough',
    );
    nothingLeft();
  });

  it('nothing is left where it does not fit, and it says so', async () => {
    const bytes = new Prng(3).bytes(4 * MIB);
    opfs.quota = 3 * MIB;
    idb.quota = 3 * MIB;
    await expect(importBlob(graph, new Blob([bytes]), target, newJob())).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    nothingLeft();
    const image = new ImageImport(graph, target, undefined, newJob());
    const pushing = push(image, bytes, MIB).then(() => image.finish());
    await expect(pushing).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(image.over).rejects.toMatchObject({ code: 'ENOSPC' });
    nothingLeft();
  });
});

describe('an import', () => {
  it('into a format takes the bytes for the disk', async () => {
    const bytes = someBytes();
    const target = { driver: 'qcow2', file: FILE };
    const padded = new Uint8Array(5 * MIB + 512);
    padded.set(bytes);
    await importBlob(graph, new Blob([bytes]), target, newJob());
    expect(Buffer.compare(await contents(target), padded)).toBe(0);
    // Data alone take room: header, tables, and clusters of 64 KiB.
    expect(opfs.used).toBeLessThan(MIB + 12 * 65536);
    const image = new ImageImport(graph, target, undefined, newJob());
    await push(image, padded, 100_000);
    await image.finish();
    expect(Buffer.compare(await contents(target), padded)).toBe(0);
  });

  it('into what is in use is refused, and what is in use stays', async () => {
    const bytes = someBytes();
    await importBlob(graph, new Blob([bytes]), FILE, newJob());
    const node = await openGraph(graph, FILE);
    await expect(importBlob(graph, new Blob(['x']), FILE, newJob())).rejects.toMatchObject({
      code: 'EBUSY',
      node: node.name,
    });
    await graph.blockdevDel(node.name);
    const elsewhere = new Graph(testContext(1, 100));
    await openGraph(elsewhere, FILE);
    await expect(importBlob(graph, new Blob(['x']), FILE, newJob())).rejects.toMatchObject({
      code: 'EBUSY',
    });
    await elsewhere.closeAll();
    expect(Buffer.compare(await contents(FILE), bytes)).toBe(0);
  });

  it('of a file that changed says that it did', async () => {
    const blob = new Blob([someBytes()]);
    blob.slice = () =>
      ({ arrayBuffer: () => Promise.reject(new Error('NotReadableError')) }) as Blob;
    await expect(importBlob(graph, blob, FILE, newJob())).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/changed or removed since it was chosen/) as string,
    });
    nothingLeft();
  });
});
