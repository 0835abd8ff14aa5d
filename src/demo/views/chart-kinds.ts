// What the charts show: which columns, in which colours, on which scale, in which words.

import { formatBytes, formatCount, formatDepth, formatDuration } from '../format-units.ts';
import type { RateColumn } from './rates.ts';

export interface ChartKind {
  readonly title: string;
  readonly series: readonly {
    readonly column: RateColumn;
    readonly label: string;
    /** A custom property of the style sheet. */
    readonly colour: string;
  }[];
  readonly format: (value: number) => string;
  /** What stands in a legend while there is nothing to tell. */
  readonly nothing: string;
  /** The scale never ends below this, or noise would look like work. */
  readonly least: number;
  /** By factors of ten, from `least` on; else from 0. */
  readonly logarithmic: boolean;
  /** Distances between the lines that make round numbers. */
  readonly steps: readonly number[];
}

const powers = (base: number, most: number): number[] => {
  const steps: number[] = [];
  for (let step = 1; step <= most; step *= base) steps.push(step);
  return steps;
};
const decimal = powers(10, 1e9).flatMap((step) => [step, 2 * step, 5 * step]);

const readWrite = (read: RateColumn, write: RateColumn): ChartKind['series'] => [
  { column: read, label: 'read', colour: '--read' },
  { column: write, label: 'write', colour: '--write' },
];

export const CHART_KINDS: readonly ChartKind[] = [
  {
    title: 'Requests / s',
    series: readWrite('readOps', 'writeOps'),
    format: formatCount,
    nothing: '0',
    least: 10,
    logarithmic: false,
    steps: decimal,
  },
  {
    title: 'Bytes / s',
    series: readWrite('readBytes', 'writeBytes'),
    format: formatBytes,
    nothing: '0 B',
    least: 64 * 1024,
    logarithmic: false,
    steps: powers(2, 2 ** 40),
  },
  {
    title: 'Latency',
    series: [
      { column: 'p50', label: '50 %', colour: '--p50' },
      { column: 'p95', label: '95 %', colour: '--p95' },
      { column: 'p99', label: '99 %', colour: '--p99' },
    ],
    format: (microseconds) => formatDuration(microseconds * 1000),
    nothing: '–',
    least: 1,
    logarithmic: true,
    steps: decimal,
  },
  {
    title: 'Queue depth',
    series: readWrite('readDepth', 'writeDepth'),
    format: formatDepth,
    nothing: '0',
    least: 1,
    logarithmic: false,
    steps: [0.1, 0.2, 0.5, ...decimal],
  },
];
