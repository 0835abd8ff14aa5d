// The layout of streamed images: every table where the header says, every cluster where the tables
// say, whatever holds data. That such images are good is proved against qemu-img, in jobs/.

import { describe, expect, it } from 'vitest';
import { Prng } from '../../../testing/prng.ts';
import { ClusterSet } from '../../cluster-set.ts';
import { parseHeader } from './header.ts';
import { qcow2Streamer } from './stream.ts';

const CLUSTER = 65536;
const PER_TABLE = CLUSTER / 8;
const TIB = 2 ** 40;

interface Laid {
  /** Metadata, by place in the image. */
  readonly tables: Map<number, Uint8Array>;
  /** Where in the image each cluster of the disk lies. */
  readonly places: Map<number, number>;
  readonly length: number;
}

function layOut(size: number, data: ClusterSet): Laid {
  const plan = qcow2Streamer.plan(size, data);
  const tables = new Map<number, Uint8Array>();
  const places = new Map<number, number>();
  let at = 0;
  for (const part of plan.parts()) {
    if ('bytes' in part) {
      tables.set(at, part.bytes);
      at += part.bytes.length;
      continue;
    }
    for (let done = 0; done < part.length; done += CLUSTER) {
      places.set((part.offset + done) / CLUSTER, at + done);
    }
    at += part.length;
  }
  expect(at).toBe(plan.length);
  return { tables, places, length: plan.length };
}

/** Follows the tables from the header on; answers what they say of every cluster that has data. */
function follow({ tables, length }: Laid, size: number): Map<number, number> {
  const header = parseHeader(tables.get(0)!, 'test');
  expect(header.size).toBe(Math.ceil(size / 512) * 512);
  const table = new DataView(tables.get(header.refcountTableOffset)!.buffer);
  for (let block = 0; block * 32768 * CLUSTER < length; block++) {
    const counts = tables.get(Number(table.getBigUint64(block * 8)))!;
    const used = Math.min(length / CLUSTER - block * 32768, 32768);
    const ones = new Uint8Array(CLUSTER).map((_, i) => (i % 2 === 1 && i < used * 2 ? 1 : 0));
    expect(Buffer.compare(counts, ones), `refcount block ${block}`).toBe(0);
  }
  const found = new Map<number, number>();
  const notCopied: number[] = [];
  for (let index = 0; index < header.l1Size; index++) {
    const part = header.l1TableOffset + Math.floor(index / PER_TABLE) * CLUSTER;
    const l1 = new DataView(tables.get(part)!.buffer);
    const entry = l1.getBigUint64((index % PER_TABLE) * 8);
    if (entry === 0n) continue;
    if (entry >> 63n !== 1n) notCopied.push(index);
    const l2 = new DataView(tables.get(Number(entry & (2n ** 63n - 1n)))!.buffer);
    for (let i = 0; i < PER_TABLE; i++) {
      const pointer = l2.getBigUint64(i * 8);
      if (pointer === 0n) continue;
      if (pointer >> 63n !== 1n) notCopied.push(index);
      found.set(index * PER_TABLE + i, Number(pointer & (2n ** 63n - 1n)));
    }
  }
  expect(notCopied).toEqual([]);
  return found;
}

const newSet = (): ClusterSet => new ClusterSet(PER_TABLE);

describe('a streamed qcow2 image', () => {
  it.each([1, 2, 3])('has its data where its tables say, seed %d', (seed) => {
    const prng = new Prng(seed);
    const size = prng.below(8 * TIB);
    const clusters = Math.ceil(size / CLUSTER);
    const data = newSet();
    for (let i = 0; i < 200; i++) {
      const from = prng.below(clusters);
      data.add(from, Math.min(from + 1 + prng.below(prng.pick([1, 10, 500])), clusters));
    }
    const laid = layOut(size, data);
    expect(laid.places.size).toBe(data.size);
    expect([...laid.places.keys()].every((cluster) => data.has(cluster))).toBe(true);
    expect(follow(laid, size)).toEqual(laid.places);
  });

  it('needs several refcount blocks for gigabytes of data', () => {
    const data = newSet();
    data.add(1000, 101_000);
    const laid = layOut(16 * 2 ** 30, data);
    expect(laid.length).toBeGreaterThan(3 * 32768 * CLUSTER);
    expect(follow(laid, 16 * 2 ** 30)).toEqual(laid.places);
  });

  it('holds nothing but tables where there is no data, of any size', () => {
    for (const size of [0, 512, 1000, CLUSTER, TIB, 1024 * TIB]) {
      const laid = layOut(size, newSet());
      expect(follow(laid, size).size).toBe(0);
      expect(laid.length).toBeLessThan(20 * 2 ** 20);
    }
    expect(() => qcow2Streamer.plan(4096 * TIB, newSet())).toThrow(/too much/);
  });
});

describe('a set of clusters', () => {
  it('keeps what was added, in memory by what holds some', () => {
    const prng = new Prng(9);
    const set = newSet();
    const model = new Set<number>();
    for (let i = 0; i < 300; i++) {
      const from = prng.below(2 ** 20);
      const to = from + prng.below(100);
      set.add(from, to);
      for (let cluster = from; cluster < to; cluster++) model.add(cluster);
    }
    expect(set.size).toBe(model.size);
    const all = Array.from({ length: 2 ** 20 }, (_, cluster) => cluster);
    expect(all.filter((cluster) => set.has(cluster) !== model.has(cluster))).toEqual([]);
    const groups = new Set([...model].map((cluster) => Math.floor(cluster / PER_TABLE)));
    expect(set.groups).toBe(groups.size);
    expect(set.groupNumbers()).toEqual([...groups].sort((a, b) => a - b));
    expect(set.hasGroup(2 ** 30)).toBe(false);
  });
});
