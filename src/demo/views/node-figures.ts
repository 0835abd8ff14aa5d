// What a node's box says: its driver's facts once, its counts twice a second. Pure.

import type { BlockNodeInfo, BlockNodeStats } from '../../index.ts';
import { formatBytes, formatCount, formatDuration, formatShare } from '../format-units.ts';
import { newCounts } from './percentile.ts';

type LatencyStats = NonNullable<BlockNodeStats['latency']>['rd'];

export interface Figure {
  readonly name: string;
  /** Bytes, mostly; empty where a count says all. */
  readonly value: string;
  readonly count: string;
  /** How long a request took lately, on average; empty where nothing is known. */
  readonly time: string;
}

/**
 * Lines of a node's box; always the same ones for the same node. Times are of what came after
 * `earlier`.
 */
export function nodeFigures(stats: BlockNodeStats, earlier?: BlockNodeStats): readonly Figure[] {
  const { counters, readBytes, readOps, writeBytes, writeOps } = stats;
  const time = (kind: 'rd' | 'wr'): string =>
    averageTime(stats.latency?.[kind], earlier?.latency?.[kind]);
  const hits = sumOf(counters, /hits$/i);
  const misses = sumOf(counters, /misses$/i);
  const figures: Figure[] = [
    {
      ...{ name: 'read', value: formatBytes(readBytes), count: formatCount(readOps) },
      time: time('rd'),
    },
    {
      ...{ name: 'write', value: formatBytes(writeBytes), count: formatCount(writeOps) },
      time: time('wr'),
    },
  ];
  if (hits !== undefined && misses !== undefined) {
    figures.push({
      name: 'hits',
      value: formatShare(hits, hits + misses),
      count: formatCount(hits),
      time: '',
    });
  }
  const { bytesFetched, requests, retries } = counters;
  if (bytesFetched !== undefined && requests !== undefined) {
    figures.push({
      name: 'net',
      value: formatBytes(bytesFetched),
      count: formatCount(requests),
      time: '',
    });
  }
  if (retries !== undefined && retries > 0) {
    figures.push({ name: 'retries', value: '', count: formatCount(retries), time: '' });
  }
  if (stats.errors > 0) {
    figures.push({ name: 'errors', value: '', count: formatCount(stats.errors), time: '' });
  }
  return figures;
}

function averageTime(later?: LatencyStats, earlier?: LatencyStats): string {
  if (later === undefined) return '';
  const requests = newCounts(later.counts, earlier?.counts).reduce((sum, count) => sum + count, 0);
  return requests === 0 ? '' : formatDuration((later.totalNs - (earlier?.totalNs ?? 0)) / requests);
}

/** One line on what the node is: length, place, cluster size. */
export function nodeFacts(node: BlockNodeInfo): string {
  const { url, path, clusterSize } = node.info;
  const facts = [formatBytes(node.length)];
  if (typeof clusterSize === 'number') facts.push(`${formatBytes(clusterSize)} clusters`);
  if (typeof path === 'string') facts.push(path.split('/').at(-1)!);
  if (typeof url === 'string') facts.push(placeOf(url));
  if (node.readOnly) facts.push('read-only');
  return facts.join(' · ');
}

/** Requests that the node has had in all: it is at work while this grows. */
export function activity(stats: BlockNodeStats): number {
  return stats.readOps + stats.writeOps + stats.flushOps + stats.discardOps;
}

function placeOf(url: string): string {
  const { host, pathname } = new URL(url);
  return `${host}/…/${pathname.split('/').at(-1)!}`;
}

function sumOf(counters: Readonly<Record<string, number>>, names: RegExp): number | undefined {
  let sum: number | undefined;
  for (const [name, count] of Object.entries(counters)) {
    if (names.test(name)) sum = (sum ?? 0) + count;
  }
  return sum;
}
