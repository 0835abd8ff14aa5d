// The lines of a node's box, from counts as drivers give them.

import { describe, expect, it } from 'vitest';
import type { BlockNodeInfo, BlockNodeStats } from '../../index.ts';
import { nodeFacts, nodeFigures } from './node-figures.ts';

const idle: BlockNodeStats = {
  nodeName: 'n',
  readOps: 12,
  writeOps: 3,
  flushOps: 0,
  discardOps: 0,
  zeroOps: 0,
  zeroBytes: 0,
  discardBytes: 0,
  readBytes: 48 * 1024,
  writeBytes: 12_288,
  errors: 0,
  inFlight: 0,
  answeredSync: 0,
  promises: 0,
  counters: {},
};

const line = (stats: BlockNodeStats, name: string): string | undefined => {
  const figure = nodeFigures(stats).find((candidate) => candidate.name === name);
  return figure && `${figure.value} | ${figure.count}`;
};

describe('nodeFigures', () => {
  it('has reads and writes for every node', () => {
    expect(nodeFigures(idle).map((figure) => figure.name)).toEqual(['read', 'write']);
    expect(line(idle, 'read')).toBe('48.0 KiB | 12');
  });

  it('sums the hits of all caches, whatever they are called', () => {
    const counters = { l2Hits: 90, l2Misses: 10, refcountHits: 9, refcountMisses: 1 };
    expect(line({ ...idle, counters }, 'hits')).toBe('90.0 % | 99');
  });

  it('averages the time of requests since the sample before', () => {
    const latency = (count: number, totalNs: number): NonNullable<BlockNodeStats['latency']> => {
      const histogram = { counts: [count], totalNs };
      return { rd: histogram, wr: { counts: [0], totalNs: 0 }, flush: histogram };
    };
    const earlier = { ...idle, latency: latency(10, 1e6) };
    const [read, write] = nodeFigures({ ...idle, latency: latency(30, 51e6) }, earlier);
    expect(read!.time).toBe('2.50 ms');
    expect(write!.time).toBe('');
    expect(nodeFigures(earlier)[0]!.time).toBe('100 µs');
  });

  it('tells what came over the network, and errors only where there are some', () => {
    const counters = { requests: 40, bytesFetched: 10 * 1024 ** 2, retries: 0 };
    expect(line({ ...idle, counters }, 'net')).toBe('10.0 MiB | 40');
    expect(line({ ...idle, counters }, 'retries')).toBeUndefined();
    expect(line({ ...idle, errors: 2 }, 'errors')).toBe(' | 2');
  });
});

describe('nodeFacts', () => {
  it('says what and where', () => {
    const node: BlockNodeInfo = {
      nodeName: 'n',
      driver: 'http',
      kind: 'protocol',
      readOnly: true,
      length: 64 * 1024 ** 2,
      children: [],
      filename: '',
      users: [],
      info: { url: 'https://example.org/a/b/disk.img?delay=20' },
    };
    expect(nodeFacts(node)).toBe('64.0 MiB · example.org/…/disk.img · read-only');
  });
});
