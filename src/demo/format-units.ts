// Numbers for people: three digits that matter, and a unit, so that columns keep their width.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `1536` is `'1.50 KiB'`; at most 8 characters. */
export function formatBytes(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? String(Math.round(value)) : threeDigits(value)} ${UNITS[unit]}`;
}

/** `1234567` is `'1.23 M'`; whole below ten thousand. */
export function formatCount(count: number): string {
  if (count < 9999.5) return String(Math.round(count));
  if (count < 999_500) return `${threeDigits(count / 1e3)} k`;
  if (count < 999_500_000) return `${threeDigits(count / 1e6)} M`;
  return `${threeDigits(count / 1e9)} G`;
}

/** How far something is; `total` is 0 while nobody knows. */
export function formatProgress({ done, total }: { done: number; total: number }): string {
  return total === 0 ? formatBytes(done) : `${formatBytes(done)} of ${formatBytes(total)}`;
}

/** `part` of `whole` as `'99.1 %'`, or a dash where there is nothing to divide by. */
export function formatShare(part: number, whole: number): string {
  return whole === 0 ? '–' : `${threeDigits((100 * part) / whole)} %`;
}

/** Nanoseconds: `1_250_000` is `'1.25 ms'`. */
export function formatDuration(ns: number): string {
  const units = ['ns', 'µs', 'ms', 's'];
  let unit = 0;
  let value = ns;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? String(Math.round(value)) : threeDigits(value)} ${units[unit]}`;
}

/** Requests under way on average: `'0.03'`, `'1.5'`, `'32'`. */
export function formatDepth(depth: number): string {
  if (depth < 0.005) return '0';
  return String(Number(depth.toFixed(depth < 0.995 ? 2 : depth < 9.95 ? 1 : 0)));
}

function threeDigits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}
