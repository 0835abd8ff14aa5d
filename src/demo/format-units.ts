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

/** `part` of `whole` as `'99.1 %'`, or a dash where there is nothing to divide by. */
export function formatShare(part: number, whole: number): string {
  return whole === 0 ? '–' : `${threeDigits((100 * part) / whole)} %`;
}

function threeDigits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}
