import { describe, expect, it } from 'vitest';
import type { Measure } from './rounds.ts';
import { sideBySide } from './rounds.ts';
import type { Machine, Report, Row } from './row.ts';
import { median, medianRatio, quantile } from './statistics.ts';
import { BlockOffsets, workloadName } from './workload.ts';
import { formatMachine, formatReport, formatTable, formatValue } from './table.ts';

const machine: Machine = {
  browser: 'Chrome/156.0.0.0',
  cores: 2,
  crossOriginIsolated: true,
  persistentProfile: true,
  opfsReadNs: 1432,
  pinned: false,
};
const rounds = { count: 3, ms: 2, warmUpMs: 5 };

describe('median', () => {
  it('is the middle one, in whatever order they come', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([10, 9, 100])).toBe(10);
  });
  it('is the mean of the middle two', () => expect(median([4, 1, 2, 100])).toBe(3));
  it('is no number for none', () => expect(median([])).toBeNaN());
  it('leaves its argument alone', () => {
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
  });
  it('of ratios pairs the rounds, and is not the ratio of the medians', () => {
    expect(medianRatio([1, 20, 30], [10, 10, 100])).toBeCloseTo(0.3);
    expect(median([1, 20, 30]) / median([10, 10, 100])).toBe(2);
  });
});

describe('quantile', () => {
  it('is one of the values: so large a part is not above it', () => {
    const values = Array.from({ length: 200 }, (_, i) => 200 - i);
    expect([0.5, 0.99, 1].map((q) => quantile(values, q))).toEqual([100, 198, 200]);
    expect(quantile([7], 0.01)).toBe(7);
  });
  it('is no number for none', () => expect(quantile([], 0.5)).toBeNaN());
});

describe('sideBySide', () => {
  /** Answers what it is told to, and notes when it was called. */
  function scripted(name: string, log: string[], requests: readonly number[]): Measure {
    let calls = 0;
    return async (ns) => {
      log.push(`${name} ${ns / 1e6}`);
      return { requests: requests[calls++]!, ns: 1e9 };
    };
  }

  it('warms both up, then takes turns, and leaves the warm-up out', async () => {
    const log: string[] = [];
    const ours = scripted('ours', log, [1_000_000, 30, 20, 10]);
    const theirs = scripted('theirs', log, [1_000_000, 40, 40, 50]);
    const result = await sideBySide(rounds, ours, theirs, async () => {
      log.push('started');
    });
    expect(log).toEqual([
      'theirs 5',
      'ours 5',
      'started',
      'theirs 2',
      'ours 2',
      'theirs 2',
      'ours 2',
      'theirs 2',
      'ours 2',
    ]);
    expect(result).toEqual({ value: 20, baseline: 40, ratio: 0.5 });
  });

  it('counts by the time that a round took, not by the time it was given', async () => {
    const result = await sideBySide(
      rounds,
      async () => ({ requests: 100, ns: 2e9 }),
      async () => ({ requests: 100, ns: 0.5e9 }),
    );
    expect(result).toEqual({ value: 50, baseline: 200, ratio: 0.25 });
  });
});

describe('the table', () => {
  const rows = [
    {
      name: 'null-co/depth-128',
      value: 2_345_678.4,
      unit: 'IOPS',
      baseline: 8_000_000,
      ratio: 0.29321,
      counts: { requests: 12_345, promises: 0 },
    },
    {
      name: 'wasm-parse/batch-64',
      value: 9.04,
      unit: 'ns/request',
      baseline: 12.44,
      ratio: 1.3761,
      counts: {},
    },
  ] as const;

  it('lines columns up, numbers on the right', () => {
    const rule = (...widths: number[]): string => widths.map((n) => '-'.repeat(n)).join('  ');
    expect(formatTable(rows).split('\n')).toEqual([
      'name                     value  unit         baseline  ratio  counts',
      rule(19, 9, 10, 9, 5, 27),
      'null-co/depth-128    2 345 678  IOPS        8 000 000   0.29  requests 12 345, promises 0',
      'wasm-parse/batch-64        9.0  ns/request       12.4   1.38',
    ]);
  });

  it('groups large numbers and gives small ones a decimal', () => {
    expect([0, 9.96, 99.94, 100, 999.6, 1234567].map(formatValue)).toEqual([
      '0.0',
      '10.0',
      '99.9',
      '100',
      '1 000',
      '1 234 567',
    ]);
  });

  it('says what the figures cannot be trusted for', () => {
    expect(formatMachine(machine)).toBe(
      'Chrome/156.0.0.0 · 2 cores · cross-origin isolated · persistent profile (OPFS 4 KiB read 1.4 µs)',
    );
    const other = { ...machine, cores: 1, pinned: true, persistentProfile: false };
    expect(formatMachine({ ...other, crossOriginIsolated: false, opfsReadNs: 250_000 })).toBe(
      'Chrome/156.0.0.0 · 1 core, pinned to one · NOT cross-origin isolated · PRIVATE profile (OPFS 4 KiB read 250.0 µs)',
    );
  });

  it('judges each row by its target: the ratio, and the value where one is asked', () => {
    const run = (): never => {
      throw new Error('not to be run');
    };
    const targets: readonly Row[] = [
      { name: 'null-co/depth-128', target: { ratio: 0.25, value: 1_000_000 }, run },
      { name: 'wasm-parse/batch-64', target: { ratio: 1.4 }, run },
      { name: 'not-run', target: { ratio: 1 }, run },
    ];
    const report: Report = {
      machine,
      date: '2026-11-28T03:14:15.000Z',
      rounds: { count: 9, ms: 150 },
      rows,
      skipped: [{ name: 'http/a', reason: 'there is no image here' }],
      failed: [{ name: 'idb/b', reason: 'Error: full' }],
    };
    expect(formatReport(report, targets).split('\n').slice(-4)).toEqual([
      'met    null-co/depth-128: ratio 0.29 of 0.25, 2 345 678 of 1 000 000 IOPS',
      'SHORT  wasm-parse/batch-64: ratio 1.38 of 1.40',
      'skipped  http/a: there is no image here',
      'FAILED  idb/b: Error: full',
    ]);
    expect(formatReport(report, targets).split('\n')[1]).toMatch(
      /^2026-11-28 03:14 UTC · .* 9 rounds of 150 ms/,
    );
    const slow: Report = { ...report, rows: [{ ...rows[0], value: 999_999 }] };
    expect(formatReport(slow, targets)).toContain('SHORT  null-co/depth-128');
  });
});

describe('BlockOffsets', () => {
  it('spreads whole blocks over the disk, the same ones each time', () => {
    const blocks = 8;
    const workload = { bytes: 4096, order: 'random' } as const;
    const random = new BlockOffsets(blocks * 4096 + 100, workload);
    const again = new BlockOffsets(blocks * 4096 + 100, workload);
    const offsets = Array.from({ length: 8000 }, () => random.next());
    expect(offsets).toEqual(Array.from({ length: 8000 }, () => again.next()));
    const seen = new Map<number, number>();
    for (const offset of offsets) seen.set(offset, (seen.get(offset) ?? 0) + 1);
    expect([...seen.keys()].sort((a, b) => a - b)).toEqual(
      Array.from({ length: blocks }, (_, i) => i * 4096),
    );
    expect(Math.min(...seen.values())).toBeGreaterThan(800);
    expect(Math.max(...seen.values())).toBeLessThan(1200);
  });

  it('goes through the disk in order, and again', () => {
    const offsets = new BlockOffsets(3 * 65536 + 4096, { bytes: 65536, order: 'sequential' });
    expect(Array.from({ length: 5 }, () => offsets.next())).toEqual([0, 65536, 131072, 0, 65536]);
  });

  it("has fio's names", () => {
    expect(workloadName({ op: 'write', bytes: 65536, order: 'sequential' })).toBe('seqwrite-64k');
  });
});
