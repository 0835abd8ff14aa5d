// What the simulation writes: each sector of 512 bytes says which write it is of and which sector it
// belongs to, in every word. So one look at a sector tells whether it is whole, whether it is in its
// place, and which of all writes it came from.

export const SECTOR = 512;
const WORDS = SECTOR / 4;

/** The value of a sector of zeroes. */
export const ZERO = 0;
/** The value of a sector of the backing image. Writes have numbers above it. */
export const BASE = 1;
/** The value of a sector of another image that takes its place. */
export const OTHER_BASE = 0xffff_fff1;

/** Fills `bytes`, whole sectors from `sector` on, with value `id`. */
export function fillSectors(bytes: Uint8Array, sector: number, id: number): void {
  if (id === ZERO) {
    bytes.fill(0);
    return;
  }
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (let at = 0; at < words.length; at += WORDS) {
    const seed = seedOf(id, sector + at / WORDS);
    words[at] = id;
    words[at + 1] = sector + at / WORDS;
    for (let i = 2; i < WORDS; i++) words[at + i] = word(seed, i);
  }
}

/** The value in the 512 bytes at `at`; undefined where they are no whole value of `sector`. */
export function sectorValue(bytes: Uint8Array, at: number, sector: number): number | undefined {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, WORDS);
  const id = words[0]!;
  const seed = seedOf(id, sector);
  if (words[1] !== (id === ZERO ? 0 : sector)) return undefined;
  for (let i = 2; i < WORDS; i++) {
    if (words[i] !== (id === ZERO ? 0 : word(seed, i))) return undefined;
  }
  return id;
}

/** Which sector the 512 bytes say that they are. */
export function sectorNumber(bytes: Uint8Array): number {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, 2)[1]!;
}

/** For people: what the 512 bytes at `at` look like. */
export function describeSector(bytes: Uint8Array, at: number, sector: number): string {
  const value = sectorValue(bytes, at, sector);
  if (value === ZERO) return 'zeroes';
  if (value === BASE) return 'the backing image';
  if (value === OTHER_BASE) return 'the other backing image';
  if (value !== undefined) return `write ${value}`;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, WORDS);
  return `neither (${[...words.subarray(0, 4)].map((word) => word.toString(16)).join(' ')} …)`;
}

function seedOf(id: number, sector: number): number {
  return Math.imul(id, 0x9e3779b1) ^ Math.imul(sector + 1, 0x85ebca6b);
}

function word(seed: number, i: number): number {
  return (seed + Math.imul(i, 0xc2b2ae35)) >>> 0;
}
