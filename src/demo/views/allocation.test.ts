// Cells of the allocation map, from maps as disks answer them.

import { describe, expect, it } from 'vitest';
import type { MapEntry } from '../../index.ts';
import { allocationOf } from './allocation.ts';

const KIB = 1024;
const TIB = 2 ** 40;
const own = { depth: 0, present: true, zero: false, data: true };
const run = (start: number, length: number, over: Partial<MapEntry> = {}): MapEntry => ({
  ...{ start, length },
  ...own,
  ...over,
});
const below = { depth: 1 };
const nothing = { present: false, zero: true, data: false };

describe('allocationOf', () => {
  it('shares runs out among the cells that they lie in', () => {
    const map = [
      run(0, 96 * KIB),
      run(96 * KIB, 32 * KIB, below),
      run(128 * KIB, 64 * KIB, { zero: true, data: false }),
      run(192 * KIB, 64 * KIB, nothing),
    ];
    const { cellBytes, data, zero, dataBytes, zeroBytes, runs } = allocationOf(map, 256 * KIB, 99);
    expect(cellBytes).toBe(64 * KIB);
    expect([...data]).toEqual([64 * KIB, 32 * KIB, 0, 0]);
    expect([...zero]).toEqual([0, 0, 64 * KIB, 0]);
    expect([dataBytes, zeroBytes, runs]).toEqual([96 * KIB, 64 * KIB, 2]);
  });

  it('takes neighbours of another kind for one run', () => {
    const map = [run(0, 64 * KIB), run(64 * KIB, 64 * KIB, { zero: true })];
    expect(allocationOf(map, 128 * KIB, 99).runs).toBe(1);
  });

  it('needs no more cells for a terabyte, and loses nothing', () => {
    const map = [run(0, 10), run(TIB - 512, 512), run(TIB / 2, TIB / 4)];
    const { data, cellBytes } = allocationOf(map, TIB, 1000);
    expect(data.length).toBeLessThanOrEqual(1000);
    expect(data.length * cellBytes).toBeGreaterThanOrEqual(TIB);
    expect(data.reduce((sum, bytes) => sum + bytes, 0)).toBe(10 + 512 + TIB / 4);
    expect(data.at(-1)).toBe(512);
  });

  it('ends with the disk, whose last cell may be cut short', () => {
    const { data } = allocationOf([run(0, 100 * KIB)], 100 * KIB, 10);
    expect([...data]).toEqual([64 * KIB, 36 * KIB]);
    expect(allocationOf([], 0, 10).data).toHaveLength(0);
  });
});
