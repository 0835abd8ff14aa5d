import { describe, expect, it } from 'vitest';
import { Prng } from '../testing/prng.ts';
import { IOVector } from './io-vector.ts';
import { MemoryRegion } from './memory-region.ts';

const SEED = 20_261_122;

describe('IOVector', () => {
  it(`copies and slices like plain bytes (seed ${SEED})`, () => {
    const prng = new Prng(SEED);
    for (let round = 0; round < 300; round++) {
      const memory = prng.bytes(400);
      const spans: number[] = [];
      for (let at = prng.below(20); at < 350; at += prng.below(30)) {
        const length = 1 + prng.below(40);
        spans.push(at, length);
        at += length;
      }
      const vector = new IOVector(new MemoryRegion(memory), spans);
      const flat = new Uint8Array(vector.size);
      vector.copyTo(flat);
      const from = prng.below(vector.size);
      const bytes = prng.below(vector.size - from + 1);
      const slice = vector.slice(from, bytes);
      const part = new Uint8Array(bytes);
      slice.copyTo(part);
      expect(part).toEqual(flat.slice(from, from + bytes));
      const fresh = prng.bytes(bytes);
      slice.copyFrom(fresh);
      flat.set(fresh, from);
      const back = new Uint8Array(vector.size);
      vector.copyTo(back);
      expect(back).toEqual(flat);
      vector.fill(7, from, bytes);
      vector.copyTo(back);
      expect(back).toEqual(flat.fill(7, from, from + bytes));
    }
  });

  it('leaves memory alone once it is revoked', () => {
    const memory = new Uint8Array(100).fill(1);
    const region = new MemoryRegion(memory);
    const vector = new IOVector(region, [10, 50]);
    region.revoke();
    vector.copyFrom(new Uint8Array(50).fill(9));
    vector.fill(9);
    vector.segment(0).fill(9);
    expect(memory.every((byte) => byte === 1)).toBe(true);
  });

  it('makes a view once for each place that is used again', () => {
    const region = new MemoryRegion(new Uint8Array(1 << 20));
    for (let round = 0; round < 100; round++) {
      for (let page = 0; page < 256; page++)
        expect(region.view(page * 4096, 4096).length).toBe(4096);
    }
    expect(region.viewsMade).toBe(256);
  });

  it('keeps its spans after detach, although the table is used again', () => {
    const region = new MemoryRegion(Uint8Array.from({ length: 100 }, (_, i) => i));
    const table = Uint32Array.of(9, 9, 10, 2, 50, 3);
    const vector = new IOVector(region);
    vector.reset(region, table, 2, 2, 5);
    vector.detach();
    table.fill(0);
    const flat = new Uint8Array(5);
    vector.copyTo(flat);
    expect([...flat]).toEqual([10, 11, 50, 51, 52]);
  });
});
