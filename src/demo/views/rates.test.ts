// Rates from counts: differences over time, a window, and disks that change.

import { describe, expect, it } from 'vitest';
import { RateHistory, WINDOW_SECONDS } from './rates.ts';

const counts = (
  readOps: number,
  readBytes: number,
): { readOps: number; writeOps: number; readBytes: number; writeBytes: number } => ({
  readOps,
  writeOps: 2 * readOps,
  readBytes,
  writeBytes: 0,
});

describe('RateHistory', () => {
  it('divides differences by the time between', () => {
    const history = new RateHistory();
    history.add(10, counts(100, 0));
    expect(history.table().seconds).toEqual([]);
    history.add(10.5, counts(150, 4096));
    history.add(12.5, counts(150, 8192));
    expect(history.table()).toMatchObject({
      seconds: [-2, 0],
      readOps: [100, 0],
      writeOps: [200, 0],
      readBytes: [8192, 2048],
      writeBytes: [0, 0],
    });
  });

  it('forgets what is older than its window', () => {
    const history = new RateHistory();
    for (let at = 0; at <= 3 * WINDOW_SECONDS; at++) history.add(at, counts(at, 0));
    const { seconds } = history.table();
    expect(seconds[0]).toBe(-WINDOW_SECONDS);
    expect(seconds).toHaveLength(WINDOW_SECONDS + 1);
  });

  it('draws no rate across two disks', () => {
    const history = new RateHistory();
    history.add(1, counts(1000, 0));
    history.add(2, counts(1003, 0));
    history.restart();
    history.add(3, counts(5000, 0));
    history.add(4, counts(0, 0));
    history.add(5, counts(7, 0));
    expect(history.table().readOps).toEqual([3, null, null, 7]);
    expect(history.table().seconds).toEqual([-3, -2, -1, 0]);
  });

  it('has percentiles and queue depths of the time between, where requests are timed', () => {
    const histogram = (bucket: number, count: number): number[] =>
      Array.from({ length: 32 }, (_, i) => (i === bucket ? count : 0));
    const none = { counts: histogram(0, 0), totalNs: 0 };
    const history = new RateHistory();
    history.add(0, { ...counts(0, 0), latency: { rd: none, wr: none, flush: none } });
    const rd = { counts: histogram(10, 100), totalNs: 3e9 };
    history.add(2, { ...counts(100, 0), latency: { rd, wr: none, flush: none } });
    history.add(4, { ...counts(100, 0), latency: { rd, wr: none, flush: none } });
    const { p50, p99, readDepth, writeDepth } = history.table();
    expect(p50[0]).toBeGreaterThan(512);
    expect(p99[0]).toBeLessThanOrEqual(1024);
    expect(p50[1]).toBeNull();
    expect(readDepth).toEqual([1.5, 0]);
    expect(writeDepth).toEqual([0, 0]);
  });
});
