// Map, convert and export of a chain of images that the real qemu-io wrote, against the real qemu-img.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Prng } from '../../testing/prng.ts';
import { makeQemuChain } from '../../testing/qemu-chain.ts';
import { haveQemu, qemuImg, qemuImgOk, withTempDir } from '../../testing/qemu.ts';
import { testContext } from '../../testing/test-context.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { registerDriver } from '../registry.ts';
import { convertDisk } from './convert.ts';
import { EXPORT_CHUNK, ImageExport } from './export.ts';
import { Job } from './job.ts';
import { MapEntries, mapDisk } from './map.ts';
import type { MapEntry } from './map.ts';

beforeAll(() => registerDriver('file', () => import('../protocols/file.ts')));

let jobs = 0;
const newJob = (graph: Graph): Job => new Job(`job:${(jobs += 1)}`, graph.context);

async function exported(graph: Graph, format: string): Promise<Uint8Array> {
  const image = await ImageExport.begin(graph, 'top', format, newJob(graph));
  const chunks: Uint8Array[] = [];
  for (let chunk = await image.next(); chunk !== undefined; chunk = await image.next()) {
    expect(chunk.length).toBeLessThanOrEqual(EXPORT_CHUNK);
    chunks.push(chunk);
  }
  await image.close();
  const bytes = Buffer.concat(chunks);
  expect(bytes.length).toBe(image.length);
  return bytes;
}

async function mapped(graph: Graph): Promise<MapEntry[]> {
  const source = graph.newBackend({ name: 'map', nodeName: 'top', readOnly: true });
  const entries = await mapDisk(source, 0, source.length, newJob(graph));
  await graph.closeBackend(source);
  return entries;
}

/** qemu-img's answer, joined where only the place in the file differs, which we do not tell. */
function qemuMap(image: string): MapEntry[] {
  const entries = new MapEntries(Infinity);
  const json = JSON.parse(qemuImgOk('map', '--output=json', '-f', 'qcow2', image)) as MapEntry[];
  for (const entry of json) entries.add(entry.start, { bytes: entry.length, ...entry });
  return entries.list;
}

describe.skipIf(!haveQemu())('map, convert and export, and the real qemu-img', () => {
  it.each([1, 2])('agree on a chain of three images, seed %d', async (seed) => {
    await withTempDir(async (folder) => {
      const path = (name: string): string => join(folder, name);
      const file = (name: string): object => ({ driver: 'file', filename: path(name) });
      const { top, options } = makeQemuChain(folder, new Prng(seed));
      const graph = new Graph(testContext());
      await openGraph(graph, { 'node-name': 'top', ...options });
      expect(await mapped(graph)).toEqual(qemuMap(top));
      const convert = (target: Record<string, unknown>): Promise<void> =>
        convertDisk(graph, 'top', target, newJob(graph));
      await convert({ driver: 'raw', file: file('converted.raw') });
      await convert({ driver: 'qcow2', file: file('converted.qcow2') });
      await convert({ driver: 'qcow2', 'cluster-size': '4K', file: file('small.qcow2') });
      writeFileSync(path('exported.raw'), await exported(graph, 'raw'));
      writeFileSync(path('exported.qcow2'), await exported(graph, 'qcow2'));
      await graph.closeAll();

      qemuImgOk('convert', '-f', 'qcow2', '-O', 'raw', top, path('their.raw'));
      qemuImgOk('convert', '-f', 'qcow2', '-O', 'qcow2', top, path('their.qcow2'));
      const bytes = (name: string): Buffer => readFileSync(path(name));
      for (const name of ['converted.raw', 'exported.raw']) {
        expect(Buffer.compare(bytes(name), bytes('their.raw')), name).toBe(0);
      }
      for (const name of ['converted.qcow2', 'small.qcow2', 'exported.qcow2']) {
        const same = qemuImgOk(
          'compare',
          '-f',
          'raw',
          '-F',
          'qcow2',
          path('their.raw'),
          path(name),
        );
        expect(same).toBe('Images are identical.\n');
        const check = qemuImg('check', '-f', 'qcow2', path(name));
        expect(check.status, check.output).toBe(0);
        // What is zero takes no more room than it does with them.
        if (name === 'small.qcow2') continue;
        expect(bytes(name).length).toBeLessThanOrEqual(bytes('their.qcow2').length);
      }
      expect(dataIn(qemuMap(path('exported.qcow2')))).toBe(dataIn(qemuMap(path('their.qcow2'))));
    });
  });
});

/** Bytes for which something is stored. */
function dataIn(entries: readonly MapEntry[]): number {
  return entries.reduce((sum, { data, length }) => sum + (data ? length : 0), 0);
}
