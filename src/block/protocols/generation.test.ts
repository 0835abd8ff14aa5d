// What each protocol knows its contents by, from one opening to the next.

import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { OK } from '../../base/ret.ts';
import { fastContext } from '../../testing/fast-context.ts';
import { IdbDouble } from '../../testing/idb-double.ts';
import { openContext } from '../../testing/open-context.ts';
import { OpfsDouble } from '../../testing/opfs-double.ts';
import { testContext } from '../../testing/test-context.ts';
import type { BlockDriver } from '../block-driver.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { driver as blob } from './blob.ts';
import { driver as file } from './file.ts';
import { httpDriver } from './http.ts';
import { idbDriver } from './idb.ts';
import { opfsDriver } from './opfs.ts';

/** Opens, asks and closes. */
async function ask<O extends object>(
  driver: BlockDriver<O>,
  raw: Record<string, unknown>,
  readOnly = true,
): Promise<string | undefined> {
  const context = openContext({ readOnly, aioContext: fastContext(1) });
  const state = await driver.open(context, driver.parseOptions(raw));
  try {
    return await state.generation!();
  } finally {
    await state.close();
  }
}

describe('the generation of what a protocol opens', () => {
  it('is the ETag, or else the date, and the size of an http image', async () => {
    let headers: Record<string, string> = {};
    const fetched = httpDriver(async () => {
      const total = headers['total'] ?? '512';
      const all = { ...headers, 'Content-Range': `bytes 0-0/${total}` };
      return new Response(new Uint8Array(1), { status: 206, headers: all });
    });
    const of = (given: Record<string, string>): Promise<string | undefined> => {
      headers = given;
      return ask(fetched, { url: 'http://127.0.0.1/a.img' });
    };
    const first = await of({ ETag: '"a"' });
    expect(first).toMatch(/^http-[0-9a-f]{16}$/);
    expect(await of({ ETag: '"a"' })).toBe(first);
    expect(await of({ ETag: '"b"' })).not.toBe(first);
    expect(await of({ ETag: '"a"', total: '1024' })).not.toBe(first);
    const dated = { 'Last-Modified': 'Sat, 28 Nov 2026 10:00:00 GMT' };
    expect(await of(dated)).toBe(await of(dated));
    expect(await of({})).toBeUndefined();
    expect(await of({ ETag: 'W/"weak"' })).toBeUndefined();
  });

  it('is the date and the size of a file, where nobody writes it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'diskplane-generation-'));
    try {
      const filename = join(folder, 'a.img');
      writeFileSync(filename, new Uint8Array(512));
      const first = await ask(file, { filename });
      expect(await ask(file, { filename })).toBe(first);
      utimesSync(filename, 1, 1);
      expect(await ask(file, { filename })).not.toBe(first);
      expect(await ask(file, { filename }, false)).toBeUndefined();
    } finally {
      rmSync(folder, { recursive: true });
    }
    const opfs = new OpfsDouble();
    const path = 'a.img';
    expect(await ask(opfsDriver(opfs), { path, create: true, size: '4K' }, false)).toBeUndefined();
    const first = await ask(opfsDriver(opfs), { path });
    expect(await ask(opfsDriver(opfs), { path })).toBe(first);
    opfs.files.get(path)!.changes += 1;
    expect(await ask(opfsDriver(opfs), { path })).not.toBe(first);
  });

  it('is the date and the size of a File; a Blob has none', async () => {
    const at = (lastModified: number): Blob => new File(['abc'], 'a.img', { lastModified });
    expect(await ask(blob, { blob: at(1) })).toBe(await ask(blob, { blob: at(1) }));
    expect(await ask(blob, { blob: at(1) })).not.toBe(await ask(blob, { blob: at(2) }));
    expect(await ask(blob, { blob: new Blob(['abc']) })).toBeUndefined();
  });

  it('counts the transactions of an idb disk, batches too, and survives a power cut with them', async () => {
    const idb = new IdbDouble();
    const driver = idbDriver(idb);
    const options = { database: 'd', create: true, size: '64M', 'cache-size': '4M' };
    const context = openContext({ aioContext: fastContext(1) });
    const open = (): ReturnType<typeof driver.open> =>
      driver.open(context, driver.parseOptions(options));
    let state = await open();
    const write = async (at: number, bytes: number): Promise<void> => {
      expect(await state.pwritev!(at, IOVector.of(new Uint8Array(bytes).fill(1)), 0)).toBe(OK);
    };
    await write(0, 512);
    expect(await state.flush!()).toBe(OK);
    const first = await state.generation!();
    expect(await state.generation!()).toBe(first);
    // More than may stay dirty: batches go ahead of the flush that never comes.
    idb.transactions.length = 0;
    for (let at = 0; at < 4; at++) await write(at * 1024 * 1024, 1024 * 1024);
    await state.close();
    expect(idb.transactions.some((said) => said.includes('relaxed'))).toBe(true);
    const live = new Map(idb.databases.get('d')!.live);
    const { id, generation } = live.get('header') as { id: string; generation: number };
    expect(`idb-${id}-${generation}`).not.toBe(first);
    idb.powerCut();
    state = await open();
    expect(await state.generation!()).not.toBe(`idb-${id}-${generation}`);
    await state.close();
  });

  it('is made durable before it is told: an earlier life may have left it to chance', async () => {
    const idb = new IdbDouble();
    await ask(idbDriver(idb), { database: 'd', create: true, size: '4K' }, false);
    const told = await ask(idbDriver(idb), { database: 'd' }, false);
    idb.powerCut();
    expect(await ask(idbDriver(idb), { database: 'd' })).toBe(told);
  });
});

describe('the generation of a graph', () => {
  it('is that of the file for raw, and of the window for a window', async () => {
    const graph = new Graph(testContext());
    const file = new File([new Uint8Array(4096)], 'a.img', { lastModified: 7 });
    const open = async (options: object): Promise<string> => {
      const raw = { driver: 'raw', file: { driver: 'blob', blob: file }, ...options };
      const node = await openGraph(graph, raw, { readOnly: true });
      const generation = await node.generation();
      await graph.blockdevDel(node.name);
      return generation;
    };
    expect(await open({})).toBe('file-7-4096');
    expect(await open({ offset: 512, size: 1024 })).toBe('file-7-4096@512+1024');
    await graph.closeAll();
  });
});
