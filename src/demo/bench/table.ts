// The report as text, for the page and the terminal alike.

import type { Counts, Machine, Report, Row, RowResult } from './row.ts';

const HEAD = ['name', 'value', 'unit', 'baseline', 'ratio', 'counts'] as const;
/** Numbers line up on the right. */
const RIGHT: ReadonlySet<string> = new Set(['value', 'baseline', 'ratio']);

/** Machine, date and method; the table; a line for each target; what is missing, and why. */
export function formatReport(report: Report, rows: readonly Row[]): string {
  const { machine, date, rounds, skipped, failed } = report;
  const targets = report.rows.flatMap((result) => {
    const row = rows.find(({ name }) => name === result.name);
    return row?.target === undefined ? [] : [formatTarget(result, row.target)];
  });
  const method =
    `${date.slice(0, 16).replace('T', ' ')} UTC · each row by turns with its baseline, ` +
    `${rounds.count} rounds of ${rounds.ms} ms or more each; medians, of the rounds' ratios too`;
  const head = [formatMachine(machine), method, '', formatTable(report.rows), ''];
  const tail = [
    ...skipped.map(({ name, reason }) => `skipped  ${name}: ${reason}`),
    ...failed.map(({ name, reason }) => `FAILED  ${name}: ${reason}`),
  ];
  return [...head, ...targets, ...tail].join('\n');
}

export function formatMachine(machine: Machine): string {
  const { browser, cores, crossOriginIsolated, persistentProfile, opfsReadNs, pinned } = machine;
  return [
    browser,
    `${cores} core${cores === 1 ? '' : 's'}${pinned ? ', pinned to one' : ''}`,
    crossOriginIsolated ? 'cross-origin isolated' : 'NOT cross-origin isolated',
    `${persistentProfile ? 'persistent' : 'PRIVATE'} profile (OPFS 4 KiB read ${(opfsReadNs / 1000).toFixed(1)} µs)`,
  ].join(' · ');
}

export function formatTable(rows: readonly RowResult[]): string {
  const lines = rows.map((row) => [
    row.name,
    formatValue(row.value),
    row.unit,
    formatValue(row.baseline),
    row.ratio.toFixed(2),
    formatCounts(row.counts),
  ]);
  const widths = HEAD.map((name, column) =>
    Math.max(name.length, ...lines.map((line) => line[column]!.length)),
  );
  const format = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        RIGHT.has(HEAD[column]!) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  return [format(HEAD), rule, ...lines.map(format)].join('\n');
}

/** Whole numbers from 100 on, in groups of three; a decimal below. */
export function formatValue(value: number): string {
  if (Math.abs(value) < 100) return value.toFixed(1);
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ' ');
}

function formatCounts(counts: Counts): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${String(count).replace(/\B(?=(\d{3})+$)/g, ' ')}`)
    .join(', ');
}

function formatTarget(result: RowResult, target: NonNullable<Row['target']>): string {
  const { name, ratio, value, unit } = result;
  const wanted = target.value ?? 0;
  const parts = [`ratio ${ratio.toFixed(2)} of ${target.ratio.toFixed(2)}`];
  if (wanted > 0) parts.push(`${formatValue(value)} of ${formatValue(wanted)} ${unit}`);
  const met = ratio >= target.ratio && value >= wanted;
  return `${met ? 'met  ' : 'SHORT'}  ${name}: ${parts.join(', ')}`;
}
