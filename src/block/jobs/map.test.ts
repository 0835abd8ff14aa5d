// What holds a disk's bytes, however torn it is. Against the real qemu-img: differential.test.ts.

import { describe, expect, it } from 'vitest';
import { Prng } from '../../testing/prng.ts';
import { testContext } from '../../testing/test-context.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { Job } from './job.ts';
import { MapEntries, mapDisk } from './map.ts';
import type { MapEntry } from './map.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

async function mapOf(options: object, signal?: AbortSignal): Promise<MapEntry[]> {
  const graph = new Graph(testContext());
  await openGraph(graph, { 'node-name': 'top', 'read-only': true, ...options });
  const source = graph.newBackend({ name: 'map', nodeName: 'top' });
  try {
    const job = new Job('job:1', graph.context, signal === undefined ? {} : { signal });
    return await mapDisk(source, 0, source.length, job);
  } finally {
    await graph.closeAll();
  }
}

describe('map', () => {
  it('tells a torn disk in a bounded number of entries, which promise nothing untrue', () => {
    const prng = new Prng(5);
    const truth: MapEntry[] = [];
    const entries = new MapEntries(64);
    let at = 0;
    for (let i = 0; i < 3000; i++) {
      const bytes = prng.chance(2) ? 8 * MIB : 4 * KIB * (1 + prng.below(4));
      const kind = prng.below(3);
      const run = { bytes, depth: prng.below(3), present: kind > 0, zero: kind < 2 };
      truth.push({ start: at, length: bytes, ...run, data: kind === 2 });
      entries.add(at, run);
      expect(entries.list.length).toBeLessThanOrEqual(64);
      at += bytes;
    }
    expect(entries.list.length).toBeGreaterThan(16);
    let end = 0;
    for (const { start, length, depth, present, zero, data } of entries.list) {
      expect(start).toBe(end);
      end = start + length;
      const inside = truth.filter((run) => run.start < end && start < run.start + run.length);
      if (zero) expect(inside.every((run) => run.zero)).toBe(true);
      expect(data).toBe(inside.some((run) => run.data));
      expect(present).toBe(inside.some((run) => run.present));
      expect(depth).toBe(Math.min(...inside.map((run) => run.depth)));
    }
    expect(end).toBe(at);
  });

  it('tells an empty disk of a terabyte in one entry', async () => {
    const entries = await mapOf({ driver: 'memory', size: 2 ** 40 });
    expect(entries).toEqual([
      { start: 0, length: 2 ** 40, depth: 0, present: true, zero: true, data: false },
    ]);
  });

  it('ends with the reason of its signal', async () => {
    const signal = AbortSignal.abort(new Error('no longer'));
    await expect(mapOf({ driver: 'memory', size: MIB }, signal)).rejects.toThrow('no longer');
  });
});
