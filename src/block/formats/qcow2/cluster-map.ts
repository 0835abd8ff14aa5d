// From guest offsets to host clusters. `map` is the hot path: a pure function of the L1 table and
// the cached L2 slices, that answers through fields of its own (`kind`, `host`, `bytes`) so that
// nothing is allocated. It faults when the L2 slice is not cached.

import { IOVector } from '../../../base/io-vector.ts';
import { EIO, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import type { Qcow2Image } from './image.ts';
import {
  L2_RESERVED_HI, L2_RESERVED_LO, OFFSET_MASK_HI, OFFSET_MASK_LO, OFLAG_COMPRESSED_HI,
  OFLAG_COPIED_HI, OFLAG_ZERO_LO, TWO_32,
} from './spec.ts'; // prettier-ignore
import { TableCache } from './table-cache.ts';
import type { TableCacheOwner, TableSlice } from './table-cache.ts';

// What a cluster is. Numbers, because `kind` is read on the hot path.
/** Nothing here: the backing file's contents, or zeroes. */
export const UNALLOCATED = 0;
/** Zeroes without a host cluster. */
export const ZERO_PLAIN = 1;
/** Zeroes, with a host cluster of its own that a write may use. */
export const ZERO_ALLOCATED = 2;
/** A host cluster of its own. */
export const DATA = 3;
/** A host cluster that others point to as well: not to be written in place. */
export const DATA_SHARED = 4;
export const COMPRESSED = 5;

/** Tables are cached in slices of this many bytes, or of a cluster where that is less. */
const MAX_SLICE_BYTES = 4096;

export class ClusterMap implements TableCacheOwner {
  // The answer of `map`.
  kind: number = UNALLOCATED;
  /** Host offset of the first byte asked for; 0 when there is no host cluster. */
  host = 0;
  /** Bytes of this kind from there on, contiguous on the host; at most what was asked. */
  bytes = 0;

  readonly cache: TableCache;
  /** L2 entries in one slice, and in one table. */
  readonly sliceEntries: number;
  readonly tableEntries: number;
  /** Guest bytes that one slice maps. */
  readonly span: number;
  readonly slicesPerTable: number;
  readonly #image: Qcow2Image;
  readonly #perSpan: number;
  readonly #clusterBits: number;
  readonly #clusterSize: number;
  readonly #clusterMask: number;

  constructor(image: Qcow2Image, cacheBytes: number) {
    this.#image = image;
    this.#clusterBits = image.clusterBits;
    this.#clusterSize = image.clusterSize;
    this.#clusterMask = image.clusterSize - 1;
    const sliceBytes = Math.min(image.clusterSize, MAX_SLICE_BYTES);
    this.sliceEntries = sliceBytes / 8;
    this.tableEntries = image.clusterSize / 8;
    this.slicesPerTable = image.clusterSize / sliceBytes;
    this.span = this.sliceEntries * image.clusterSize;
    this.#perSpan = 1 / this.span;
    this.cache = new TableCache(sliceBytes, cacheBytes, image.clusterBits, this);
  }

  /** Guest bytes that one L2 table maps. */
  get tableSpan(): number {
    return this.tableEntries * this.#clusterSize;
  }

  /** Maps `[offset, offset + bytes)`, `bytes > 0`: OK, FAULT, or -EIO for a bad entry. */
  map(offset: number, bytes: number): Ret {
    const key = Math.floor(offset * this.#perSpan);
    const slice = this.cache.get(key);
    if (slice === undefined) return this.#mapUncached(key, offset, bytes);
    const rest = offset - key * this.span;
    const view = slice.view;
    let at = (rest >>> this.#clusterBits) << 3;
    let hi = view.getUint32(at);
    let lo = view.getUint32(at + 4);
    const kind = this.#kindOf(hi, lo);
    if (kind < 0) return this.#bad(hi, lo, offset);
    const within = rest & this.#clusterMask;
    let host = (hi & OFFSET_MASK_HI) * TWO_32 + ((lo & OFFSET_MASK_LO) >>> 0);
    this.kind = kind;
    let run = this.#clusterSize - within;
    const hasHost = kind >= ZERO_ALLOCATED && kind !== COMPRESSED;
    this.host = hasHost ? host + within : 0;
    const end = this.sliceEntries << 3;
    while (run < bytes && (at += 8) < end && kind !== COMPRESSED) {
      hi = view.getUint32(at);
      lo = view.getUint32(at + 4);
      // Most of a large table is nothing at all, which is quickly seen.
      if (kind === UNALLOCATED ? (hi | lo) !== 0 : this.#kindOf(hi, lo) !== kind) break;
      if (hasHost) {
        host += this.#clusterSize;
        if ((hi & OFFSET_MASK_HI) * TWO_32 + ((lo & OFFSET_MASK_LO) >>> 0) !== host) break;
      }
      run += this.#clusterSize;
    }
    this.bytes = run < bytes ? run : bytes;
    return OK;
  }

  /** The kind of an entry, or -EIO. */
  #kindOf(hi: number, lo: number): number {
    if ((hi & OFLAG_COMPRESSED_HI) !== 0) return COMPRESSED;
    const unaligned = lo & this.#clusterMask & OFFSET_MASK_LO;
    if ((hi & L2_RESERVED_HI) !== 0 || (lo & L2_RESERVED_LO) !== 0 || unaligned !== 0) return -EIO;
    const hasHost = (hi & OFFSET_MASK_HI) !== 0 || (lo & OFFSET_MASK_LO) !== 0;
    if ((lo & OFLAG_ZERO_LO) !== 0) {
      if (this.#image.version < 3) return -EIO;
      return hasHost && (hi & OFLAG_COPIED_HI) !== 0 ? ZERO_ALLOCATED : ZERO_PLAIN;
    }
    if (!hasHost) return UNALLOCATED;
    return (hi & OFLAG_COPIED_HI) !== 0 ? DATA : DATA_SHARED;
  }

  #bad(hi: number, lo: number, offset: number): Ret {
    const entry = (BigInt(hi) << 32n) | BigInt(lo);
    return this.#image.corruption(`bad L2 entry 0x${entry.toString(16)} for guest ${offset}`);
  }

  #mapUncached(key: number, offset: number, bytes: number): Ret {
    const index = Math.floor(key / this.slicesPerTable);
    const table = this.#image.l1.l2Offset(index);
    if (table < 0) return table;
    if (table === 0) {
      this.kind = UNALLOCATED;
      this.host = 0;
      this.bytes = Math.min(bytes, (index + 1) * this.tableSpan - offset);
      return OK;
    }
    return this.#image.faults.fault(() => this.cache.load(key));
  }

  /**
   * An attempt: the slice that maps guest `offset`, to be changed. There must be a table that is
   * ours alone (`ensureTable`). Undefined: look at `code`.
   */
  sliceForChange(offset: number): TableSlice | undefined {
    const key = Math.floor(offset * this.#perSpan);
    const slice = this.cache.get(key);
    if (slice === undefined) this.code = this.#image.faults.fault(() => this.cache.load(key));
    else if (slice.io !== undefined) {
      const io = slice.io;
      this.code = this.#image.faults.fault(() => io.then(() => OK));
    } else return slice;
    return undefined;
  }
  /** Why `sliceForChange` gave nothing. */
  code: Ret = OK;

  /** Index in its slice of the entry for guest `offset`. */
  entryOf(offset: number): number {
    return Math.floor((offset % this.span) / this.#clusterSize);
  }

  /** Host cluster of the entry, whatever its flags; 0 for none (or compressed). */
  hostOf(slice: TableSlice, entry: number): number {
    const hi = slice.view.getUint32(entry * 8);
    if ((hi & OFLAG_COMPRESSED_HI) !== 0) return 0;
    const lo = slice.view.getUint32(entry * 8 + 4);
    return (hi & OFFSET_MASK_HI) * TWO_32 + ((lo & OFFSET_MASK_LO) >>> 0);
  }

  /** The kind of one entry of a slice; negative when it is bad. */
  kindAt(slice: TableSlice, entry: number): number {
    return this.#kindOf(slice.view.getUint32(entry * 8), slice.view.getUint32(entry * 8 + 4));
  }

  /** Sets an entry to `host` (0 for none), which has refcount one, and the zero flag. */
  setEntry(slice: TableSlice, entry: number, host: number, zero: boolean): void {
    const hi = Math.floor(host / TWO_32) | (host === 0 ? 0 : OFLAG_COPIED_HI);
    slice.view.setUint32(entry * 8, hi);
    slice.view.setUint32(entry * 8 + 4, host + (zero ? OFLAG_ZERO_LO : 0));
    this.cache.markDirty(slice);
  }

  /**
   * An attempt: makes sure that guest `offset` has an L2 table that may be changed. After
   * `beginChange`.
   */
  ensureTable(offset: number): Ret {
    const image = this.#image;
    const index = Math.floor(offset / this.tableSpan);
    const old = image.l1.l2Offset(index);
    if (old < 0) return old;
    if (old !== 0 && image.l1.isCopied(index)) return OK;
    const host = image.refcounts.allocate(1);
    if (host < 0) return host;
    if (old === 0 && image.refcounts.runFresh) {
      image.l1.set(index, host);
      return OK;
    }
    return image.faults.fault(() =>
      image.faults.exclusive(() => this.#fillTable(index, host, old)),
    );
  }

  /** Gives table `index` the cluster `host`: zeroes, or a copy of the table at `old`. */
  async #fillTable(index: number, host: number, old: number): Promise<Ret> {
    const image = this.#image;
    const table = IOVector.of(new Uint8Array(this.#clusterSize));
    let ret = OK;
    if (old !== 0) ret = await this.#copyTable(index, old, table);
    if (ret >= 0) ret = await image.file.pwritev(host, table);
    if (ret < 0) {
      await image.faults.retry(() => image.refcounts.adjust(host, -1));
      return ret;
    }
    image.l1.set(index, host);
    if (old !== 0) image.freed.add(old, this.#clusterSize);
    return OK;
  }

  async #copyTable(index: number, old: number, table: IOVector): Promise<Ret> {
    const inTable = (key: number): boolean => Math.floor(key / this.slicesPerTable) === index;
    this.cache.drop(inTable);
    return this.#image.readFile(old, table);
  }

  locate(key: number): number {
    const table = this.#image.l1.l2Offset(Math.floor(key / this.slicesPerTable));
    if (table <= 0) return -EIO;
    return table + (key % this.slicesPerTable) * this.cache.sliceBytes;
  }
  read(host: number, qiov: IOVector): MaybeRet {
    return this.#image.readFile(host, qiov);
  }
  write(host: number, qiov: IOVector): MaybeRet {
    return this.#image.file.pwritev(host, qiov);
  }
  makeRoom(): MaybeRet {
    return this.#image.writeBack();
  }
}
