// The embedded guest's disk, made from its program: boot sector, program, a state that says zero boots,
// and room for the pattern. The numbers here are those at the top of boot-program.asm.

import { assemble } from './assemble.ts';
import source from './boot-program.asm?raw';

export const SECTOR_BYTES = 512;
/** Sector that holds the count of boots and what the last pattern was. */
export const STATE_LBA = 16;
/** First sector of the pattern. */
export const PATTERN_LBA = 2048;
const DISK_BYTES: number = 4 * 1024 * 1024;
const MAGIC = 'DISKPLN1';

/** What the guest keeps in its state's sector. */
export interface GuestState {
  readonly boots: number;
  /** Of the last pattern; every pattern gets a new one. */
  readonly seed: number;
  /** How many sectors the last pattern covers; 0: none was written. */
  readonly patternSectors: number;
}

/** A raw disk image, as it is before the first boot. */
export function embeddedDiskImage(): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(DISK_BYTES);
  image.set(assemble(source).bytes);
  image.set(new TextEncoder().encode(MAGIC), STATE_LBA * SECTOR_BYTES);
  return image;
}

/** Reads a state's sector; undefined where it is none. */
export function parseGuestState(sector: Uint8Array): GuestState | undefined {
  if (new TextDecoder('latin1').decode(sector.subarray(0, MAGIC.length)) !== MAGIC)
    return undefined;
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  return {
    boots: view.getUint16(8, true),
    seed: view.getUint16(10, true),
    patternSectors: view.getUint16(12, true),
  };
}

/** What the guest writes to the sector at `lba`: words of a linear congruential generator. */
export function patternSector(seed: number, lba: number): Uint8Array {
  const sector = new Uint8Array(SECTOR_BYTES);
  const view = new DataView(sector.buffer);
  let word = (seed * 31 + lba) & 0xffff;
  for (let at = 0; at < SECTOR_BYTES; at += 2) {
    word = (word * 25173 + 13849) & 0xffff;
    view.setUint16(at, word, true);
  }
  return sector;
}
