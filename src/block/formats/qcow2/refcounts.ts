// Refcounts of host clusters, and the allocator on top of them: first fit from the first cluster
// that may be free. Refcounts in memory are never below what tables on disk need, so that refcount
// blocks may be written at any time, in any order.

import type { IOVector } from '../../../base/io-vector.ts';
import { EFBIG, EIO, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import type { Qcow2Image } from './image.ts';
import { getRefcount, maxRefcount, setRefcount } from './refcount-bits.ts';
import { REFTABLE_RESERVED_LO, TWO_32 } from './spec.ts';
import { TableCache } from './table-cache.ts';
import type { TableCacheOwner, TableSlice } from './table-cache.ts';

const MAX_SLICE_BYTES = 4096;
/** Host offsets stay exact numbers, and below 2^56 as the format wants. */
const MAX_HOST_OFFSET = 2 ** 52;

/** What few images need, every 2 GiB: loaded ahead where one is opened for writing, waited for by nobody. */
export const loadGrowth = (): Promise<typeof import('./refcount-growth.ts') | undefined> =>
  import('./refcount-growth.ts').catch(() => undefined);

export class Refcounts implements TableCacheOwner {
  /** The refcount table as on disk. */
  table: Uint8Array<ArrayBuffer>;
  tableOffset: number;
  readonly cache: TableCache;
  readonly order: number;
  /** Clusters that one block counts, and one slice of it. */
  readonly perBlock: number;
  readonly perSlice: number;
  // The answer of `allocate`, beside the host offset.
  runClusters = 0;
  /** The run lies where nothing was ever written: it reads as zeroes. */
  runFresh = false;
  /** Clusters handed out since open. */
  allocated = 0;
  /** No cluster below is free. */
  #firstFree = 0;
  #tableView: DataView;
  readonly #image: Qcow2Image;
  readonly #slicesPerBlock: number;

  constructor(
    image: Qcow2Image,
    table: Uint8Array<ArrayBuffer>,
    tableOffset: number,
    cacheBytes: number,
  ) {
    this.#image = image;
    this.table = table;
    this.#tableView = new DataView(table.buffer);
    this.tableOffset = tableOffset;
    this.order = image.header.refcountOrder;
    const sliceBytes = Math.min(image.clusterSize, MAX_SLICE_BYTES);
    this.perBlock = (image.clusterSize * 8) / 2 ** this.order;
    this.perSlice = (sliceBytes * 8) / 2 ** this.order;
    this.#slicesPerBlock = image.clusterSize / sliceBytes;
    this.cache = new TableCache(sliceBytes, cacheBytes, image.clusterBits, this);
  }

  /** Entries in the refcount table. */
  get tableSize(): number {
    return this.table.length / 8;
  }

  /** Host offset of refcount block `index`, 0 when there is none, -EIO when the entry is bad. */
  blockOffset(index: number): number {
    if (index >= this.tableSize) return 0;
    const hi = this.#tableView.getUint32(index * 8);
    const lo = this.#tableView.getUint32(index * 8 + 4);
    if (hi === 0 && lo === 0) return 0;
    const image = this.#image;
    const host = hi * TWO_32 + lo;
    if ((lo & REFTABLE_RESERVED_LO) !== 0 || host % image.clusterSize !== 0) {
      return image.corruption(`refcount block offset ${host} unaligned (index ${index})`);
    }
    if (host >= image.file.length) {
      return image.complain(`refcount block at ${host} lies past the end of the file`);
    }
    const hit = image.overlapFixed(host, image.clusterSize);
    if (hit !== undefined) return image.corruption(`refcount block at ${host} overlaps ${hit}`);
    return host;
  }

  /** Sets an entry of the table in memory; whoever calls has written it. */
  setBlockOffset(index: number, host: number): void {
    this.#tableView.setUint32(index * 8, Math.floor(host / TWO_32));
    this.#tableView.setUint32(index * 8 + 4, host);
  }

  /** Takes over another table, already on disk at `offset`. */
  replaceTable(table: Uint8Array<ArrayBuffer>, offset: number): void {
    this.table = table;
    this.#tableView = new DataView(table.buffer);
    this.tableOffset = offset;
  }

  /** Looks for free clusters from the start again. */
  rescan(): void {
    this.#firstFree = 0;
  }

  /** An attempt: the refcount of the cluster at `host`; FAULT or -EIO below zero. */
  get(host: number): Ret {
    const cluster = host / this.#image.clusterSize;
    const block = this.blockOffset(Math.floor(cluster / this.perBlock));
    if (block <= 0) return block;
    const slice = this.#slice(cluster);
    if (slice === undefined) return this.#code;
    return getRefcount(slice.view, this.order, cluster % this.perSlice);
  }

  /** An attempt: adds `delta` to the refcount of the cluster at `host`. Needs no `beginChange`. */
  adjust(host: number, delta: number): Ret {
    const cluster = host / this.#image.clusterSize;
    const block = this.blockOffset(Math.floor(cluster / this.perBlock));
    if (block < 0) return block;
    if (block === 0) return this.#image.complain(`no refcount block for the cluster at ${host}`);
    const slice = this.#slice(cluster);
    if (slice === undefined) return this.#code;
    const entry = cluster % this.perSlice;
    const value = getRefcount(slice.view, this.order, entry) + delta;
    if (value < 0 || value > maxRefcount(this.order)) {
      return this.#image.complain(`refcount of the cluster at ${host} would become ${value}`);
    }
    setRefcount(slice.view, this.order, entry, value);
    this.cache.markDirty(slice);
    if (value === 0) this.#firstFree = Math.min(this.#firstFree, cluster);
    return OK;
  }

  /**
   * An attempt, after `beginChange`: takes the first free run, up to `clusters` long. Answers its
   * host offset; see `runClusters`, `runFresh`. The file reaches to its end.
   */
  allocate(clusters: number): Ret {
    const image = this.#image;
    const size = image.clusterSize;
    for (let cluster = this.#firstFree; ;) {
      const blockIndex = Math.floor(cluster / this.perBlock);
      const block = this.blockOffset(blockIndex);
      if (block < 0) return block;
      if (block === 0) return this.#needBlock(blockIndex);
      const slice = this.#slice(cluster);
      if (slice === undefined) return this.#code;
      let entry = cluster % this.perSlice;
      while (entry < this.perSlice && getRefcount(slice.view, this.order, entry) !== 0) entry += 1;
      cluster += entry - (cluster % this.perSlice);
      this.#firstFree = cluster;
      if (entry === this.perSlice) continue;
      let run = 1;
      while (run < clusters && entry + run < this.perSlice) {
        if (getRefcount(slice.view, this.order, entry + run) !== 0) break;
        run += 1;
      }
      const host = cluster * size;
      if (host + run * size > MAX_HOST_OFFSET) return -EFBIG;
      const hit = image.overlap(host, run * size);
      if (hit !== undefined) {
        return image.corruption(`cluster at ${host} counts as free but overlaps ${hit}`);
      }
      const ret = image.ensureFileLength(host + run * size);
      if (ret < 0) return ret;
      for (let i = 0; i < run; i++) setRefcount(slice.view, this.order, entry + i, 1);
      this.cache.markDirty(slice);
      this.#firstFree = cluster + run;
      this.runClusters = run;
      this.runFresh = host >= image.allocatedEnd;
      image.allocatedEnd = Math.max(image.allocatedEnd, host + run * size);
      this.allocated += run;
      return host;
    }
  }

  #needBlock(index: number): Ret {
    const image = this.#image;
    return image.faults.fault(() =>
      image.faults.exclusive(async () => {
        const growth = await loadGrowth();
        if (growth !== undefined) return growth.createBlock(image, index);
        return image.complain('the code that makes refcount blocks cannot be loaded');
      }),
    );
  }

  /** The slice that counts `cluster`, free to be changed; or undefined and `#code`. */
  #slice(cluster: number): TableSlice | undefined {
    const key = Math.floor(cluster / this.perSlice);
    const slice = this.cache.get(key);
    if (slice === undefined) {
      this.#code = this.#image.faults.fault(() => this.cache.load(key));
    } else if (slice.io !== undefined) {
      const io = slice.io;
      this.#code = this.#image.faults.fault(() => io.then(() => OK));
    } else return slice;
    return undefined;
  }
  #code: Ret = OK;

  locate(key: number): number {
    const block = this.blockOffset(Math.floor(key / this.#slicesPerBlock));
    if (block <= 0) return -EIO;
    return block + (key % this.#slicesPerBlock) * this.cache.sliceBytes;
  }
  read(host: number, qiov: IOVector): MaybeRet {
    return this.#image.readFile(host, qiov);
  }
  write(host: number, qiov: IOVector): MaybeRet {
    return this.#image.file.pwritev(host, qiov);
  }
  makeRoom(): MaybeRet {
    return this.cache.writeOne();
  }
}
