// The L1 table, whole in memory as it is on disk. Entries are changed here and written, by sectors,
// once the L2 tables that they point to are on disk.

import { IOVector } from '../../../base/io-vector.ts';
import { OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import type { Qcow2Image } from './image.ts';
import {
  L1_RESERVED_HI, L1_RESERVED_LO, OFFSET_MASK_HI, OFFSET_MASK_LO, OFLAG_COPIED_HI, SECTOR_BYTES,
  TWO_32,
} from './spec.ts'; // prettier-ignore

const PER_SECTOR = SECTOR_BYTES / 8;

export class L1Table {
  bytes: Uint8Array<ArrayBuffer>;
  /** Where it lies in the file, bytes. */
  offset: number;
  readonly #image: Qcow2Image;
  #view: DataView;
  /** Entries that differ from the file's. */
  readonly #dirty = new Set<number>();
  /** Entries that were never handed to the file since they were set. */
  readonly #fresh = new Set<number>();

  constructor(image: Qcow2Image, bytes: Uint8Array<ArrayBuffer>, offset: number) {
    this.#image = image;
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer);
    this.offset = offset;
  }

  /** Entries. */
  get size(): number {
    return this.bytes.length / 8;
  }
  get dirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** Host offset of L2 table `index`, 0 when there is none, -EIO when the entry is bad. */
  l2Offset(index: number): number {
    if (index >= this.size) return 0;
    const hi = this.#view.getUint32(index * 8);
    const lo = this.#view.getUint32(index * 8 + 4);
    const host = (hi & OFFSET_MASK_HI) * TWO_32 + ((lo & OFFSET_MASK_LO) >>> 0);
    if (host === 0) return 0;
    const image = this.#image;
    if ((hi & L1_RESERVED_HI) !== 0 || (lo & L1_RESERVED_LO) !== 0) {
      return image.corruption(`reserved bits set in L1 entry ${index}`);
    }
    if (host % image.clusterSize !== 0) {
      return image.corruption(`L2 table offset ${host} unaligned (L1 index ${index})`);
    }
    if (host >= image.file.length) {
      return image.complain(`L2 table at ${host} lies past the end of the file`);
    }
    const hit = image.overlapFixed(host, image.clusterSize);
    if (hit !== undefined) return image.corruption(`L2 table at ${host} overlaps ${hit}`);
    return host;
  }

  /** True when table `index` is ours alone and may be changed in place. */
  isCopied(index: number): boolean {
    return (this.bytes[index * 8]! & 0x80) !== 0;
  }

  /** Sets or clears the COPIED flag of entry `index`. For repairs. */
  setCopied(index: number, copied: boolean): void {
    this.bytes[index * 8]! &= 0x7f;
    if (copied) this.bytes[index * 8]! |= 0x80;
    this.#dirty.add(index);
  }

  /** Points entry `index` at a table with refcount one; 0 for none. */
  set(index: number, host: number): void {
    const hi = Math.floor(host / TWO_32) | (host === 0 ? 0 : OFLAG_COPIED_HI);
    this.#view.setUint32(index * 8, hi);
    this.#view.setUint32(index * 8 + 4, host);
    this.#dirty.add(index);
    this.#fresh.add(index);
  }

  /** True when entry `index` is not on disk yet, so nothing there leads to its L2 table. */
  isFresh(index: number): boolean {
    return this.#fresh.has(index);
  }

  /** Writes the sectors of changed entries. */
  write(): MaybeRet {
    const sectors = new Map<number, number[]>();
    for (const index of this.#dirty) {
      const sector = Math.floor(index / PER_SECTOR);
      const entries = sectors.get(sector);
      if (entries === undefined) sectors.set(sector, [index]);
      else entries.push(index);
    }
    const pending: Promise<Ret>[] = [];
    let first: Ret = OK;
    this.#fresh.clear(); // From now on they may be there, even if a write fails.
    for (const [sector, entries] of sectors) {
      const from = sector * SECTOR_BYTES;
      const bytes = this.bytes.subarray(from, Math.min(from + SECTOR_BYTES, this.bytes.length));
      const ret = this.#image.file.pwritev(this.offset + from, IOVector.of(bytes));
      const done = (later: Ret): Ret => {
        if (later >= 0) for (const index of entries) this.#dirty.delete(index);
        return later;
      };
      if (typeof ret !== 'number') pending.push(ret.then(done));
      else if (done(ret) < 0 && first === OK) first = ret;
    }
    if (pending.length === 0) return first;
    return Promise.all(pending).then((rets) => rets.reduce((a, b) => (a < 0 ? a : b), first));
  }

  /** Takes over another table, already on disk at `offset`. Nothing is dirty. */
  replace(bytes: Uint8Array<ArrayBuffer>, offset: number): void {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer);
    this.offset = offset;
    this.#dirty.clear();
    this.#fresh.clear();
  }
}
