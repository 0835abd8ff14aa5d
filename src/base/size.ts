// Sizes as people write them: `64K`, `1.5G`, `20GiB`. Units are powers of 1024, as in QEMU.

const UNITS = ['', 'K', 'M', 'G', 'T', 'P', 'E'] as const;

/**
 * Bytes for `text`: digits, perhaps a fraction, perhaps a unit (K, M, G, T, P, E; also KiB, KB, B).
 * Undefined when it is no size, or not a whole number of bytes below 2^53.
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,16}(?:\.\d{1,15})?)\s*(?:([KMGTPE])(?:i?B)?|B)?$/i.exec(text.trim());
  if (match === null) return undefined;
  const power = UNITS.indexOf((match[2] ?? '').toUpperCase() as (typeof UNITS)[number]);
  const bytes = Number(match[1]) * 1024 ** power;
  // 1.1G is no whole number; QEMU rounds such down.
  const whole = match[1]!.includes('.') ? Math.floor(bytes) : bytes;
  return Number.isSafeInteger(whole) ? whole : undefined;
}

/** `bytes` for people: `64 KiB`, `1.5 GiB`, `517 B`. */
export function formatSize(bytes: number): string {
  let power = 0;
  let value = bytes;
  while (value >= 1024 && power < UNITS.length - 1) {
    value /= 1024;
    power += 1;
  }
  if (power === 0) return `${bytes} B`;
  const text = value >= 100 ? value.toFixed(0) : value.toPrecision(3).replace(/\.?0+$/, '');
  return `${text} ${UNITS[power]}iB`;
}
