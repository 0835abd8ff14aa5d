// Removing images: what is there goes, what is open or somebody else's stays.

import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, it } from 'vitest';
import { IdbDouble } from '../testing/idb-double.ts';
import { OpfsDouble } from '../testing/opfs-double.ts';
import { withTempDir } from '../testing/qemu.ts';
import { testContext } from '../testing/test-context.ts';
import { createImage, removeImage } from './create.ts';
import { Graph } from './graph.ts';
import { openGraph } from './open.ts';
import { idbDriver } from './protocols/idb.ts';
import { opfsDriver } from './protocols/opfs.ts';
import { registerDriver } from './registry.ts';

let opfs: OpfsDouble;
let idb: IdbDouble;
let graph: Graph;

beforeAll(() => registerDriver('file', () => import('./protocols/file.ts')));
beforeEach(() => {
  opfs = new OpfsDouble();
  idb = new IdbDouble();
  registerDriver('opfs', async () => ({ driver: opfsDriver(opfs) }));
  registerDriver('idb', async () => ({ driver: idbDriver(idb) }));
  graph = new Graph(testContext(1, 50));
});

it.each([
  [{ driver: 'opfs', path: 'a/b.img' }, () => [...opfs.files.keys()]],
  [{ driver: 'idb', database: 'b' }, () => [...idb.databases.keys()]],
])('%o', async (file, names) => {
  const there = names;
  await createImage(graph, { ...file, size: 4096 });
  await createImage(graph, { driver: 'qcow2', size: 4096, file });
  expect(there()).toHaveLength(1);
  const elsewhere = new Graph(testContext(1, 50));
  await openGraph(elsewhere, file);
  await expect(removeImage(graph, { driver: 'qcow2', file })).rejects.toMatchObject({
    code: 'EBUSY',
  });
  await elsewhere.closeAll();
  await openGraph(graph, { ...file, 'node-name': 'open' });
  await expect(removeImage(graph, file)).rejects.toMatchObject({ code: 'EBUSY', node: 'open' });
  await removeImage(graph, { driver: 'qcow2', file: 'open' });
  await graph.closeAll();
  expect(there()).toHaveLength(1);
  await removeImage(graph, { driver: 'qcow2', file });
  expect(there()).toEqual([]);
  await expect(removeImage(graph, file)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(opfs.lockManager!.held).toEqual([]);
  expect(idb.lockManager.held).toEqual([]);
});

it('a database that holds no disk stays', async () => {
  const request = idb.factory().open('mine');
  await new Promise((resolve) => {
    request.onupgradeneeded = () => void request.result.createObjectStore('notes');
    request.onsuccess = resolve;
  });
  request.result.close();
  await expect(removeImage(graph, { driver: 'idb', database: 'mine' })).rejects.toMatchObject({
    code: 'EINVAL',
  });
  expect([...idb.databases.keys()]).toEqual(['mine']);
});

it('a file of the host', async () => {
  await withTempDir(async (folder) => {
    const file = { driver: 'file', filename: join(folder, 'a.img') };
    await createImage(graph, { ...file, size: 4096 });
    await openGraph(graph, { ...file, 'node-name': 'open' });
    symlinkSync(file.filename, join(folder, 'b.img'));
    const link = { driver: 'file', filename: join(folder, 'b.img') };
    await expect(removeImage(graph, link)).rejects.toMatchObject({ code: 'EBUSY' });
    await expect(createImage(graph, { ...link, size: 512 })).rejects.toMatchObject({
      code: 'EBUSY',
    });
    await graph.closeAll();
    await removeImage(graph, file);
    expect(existsSync(file.filename)).toBe(false);
    await expect(removeImage(graph, file)).rejects.toMatchObject({ code: 'ENOENT' });
    mkdirSync(file.filename);
    await expect(removeImage(graph, file)).rejects.toThrow(/cannot remove/);
  });
});

it('what fails half-way leaves nothing, and what was not made stays', async () => {
  await withTempDir(async (folder) => {
    const file = { driver: 'file', filename: join(folder, 'a.qcow2') };
    const create = { driver: 'qcow2', file, size: 1000 };
    await expect(createImage(graph, create)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(existsSync(file.filename)).toBe(false);
    opfs.quota = 4096;
    const inOpfs = { driver: 'qcow2', file: { driver: 'opfs', path: 'a' }, size: 4096 };
    await expect(createImage(graph, inOpfs)).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(
      createImage(graph, { driver: 'opfs', path: 'a', size: 8192 }),
    ).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    expect([...opfs.files.keys()]).toEqual([]);
    await openGraph(graph, { driver: 'memory', 'node-name': 'medium', size: 0 });
    const onNode = { driver: 'qcow2', file: 'medium', size: 1000 };
    await expect(createImage(graph, onNode)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(graph.find('medium')).toBeDefined();
    writeFileSync(file.filename, 'x');
    await expect(createImage(graph, { driver: 'qcow2', file })).rejects.toMatchObject({
      code: 'EINVAL',
    });
    expect(existsSync(file.filename)).toBe(true);
    await graph.closeAll();
  });
});
