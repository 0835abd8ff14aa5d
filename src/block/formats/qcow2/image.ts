// One open qcow2 image: geometry, the children, the tables, and what concerns all of them - header
// fields, corruption, the rule that tables are changed by one at a time.

import { IOVector } from '../../../base/io-vector.ts';
import type { MemoryRegion } from '../../../base/memory-region.ts';
import { EIO, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import type { BlockChild } from '../../block-child.ts';
import type { Allocation } from './allocation.ts';
import { ClusterMap } from './cluster-map.ts';
import { Faults } from './faults.ts';
import { FreedClusters } from './freed-clusters.ts';
import { Generation } from './generation.ts';
import type { Qcow2Header } from './header.ts';
import { L1Table } from './l1-table.ts';
import { Refcounts } from './refcounts.ts';
import { COMPAT_LAZY_REFCOUNTS, HEADER_INCOMPATIBLE, INCOMPAT_CORRUPT, INCOMPAT_DIRTY } from './spec.ts'; // prettier-ignore
import { writeBack } from './write-back.ts';

const MIB = 1024 * 1024;
/** Space is asked of the file in steps, because each asking is a promise; `close` gives back. */
const MIN_GROWTH = MIB;
const MAX_GROWTH = 16 * MIB;

/** What an image is made of. */
export interface ImageParts {
  readonly node: string;
  readonly header: Qcow2Header;
  readonly file: BlockChild;
  readonly backing: BlockChild | undefined;
  readonly readOnly: boolean;
  readonly l1: Uint8Array<ArrayBuffer>;
  readonly refcountTable: Uint8Array<ArrayBuffer>;
  /** Bytes. */
  readonly l2CacheSize: number;
  readonly refcountCacheSize: number;
  /** Overrides the header's feature bit. */
  readonly lazyRefcounts: boolean | undefined;
  /** Answers `[0, 1)`. */
  random(): number;
  notice(message: string): void;
}

export class Qcow2Image {
  readonly node: string;
  readonly version: 2 | 3;
  readonly header: Qcow2Header;
  readonly file: BlockChild;
  readonly backing: BlockChild | undefined;
  readonly readOnly: boolean;
  readonly clusterBits: number;
  readonly clusterSize: number;
  readonly lazyRefcounts: boolean;
  readonly faults: Faults = new Faults();
  readonly freed: FreedClusters = new FreedClusters();
  readonly l1: L1Table;
  readonly map: ClusterMap;
  readonly refcounts: Refcounts;
  readonly generation: Generation;
  /** Allocating writes whose clusters are not linked yet. */
  readonly allocations: Set<Allocation> = new Set<Allocation>();
  /** The guest's disk, bytes. */
  length: number;
  /** End of the last cluster ever handed out, bytes; the file beyond it reads as zeroes. */
  allocatedEnd: number;
  corrupt = false;
  /** See `freeze`. */
  frozen = false;
  cowBytes = 0;
  /** Memory of the last copy on write, for the next one. */
  spareRegion: MemoryRegion | undefined;
  incompatibleFeatures: bigint;
  readonly #notice: (message: string) => void;
  readonly #told = new Set<string>();
  #marking: MaybeRet = OK;

  constructor(parts: ImageParts) {
    const { header } = parts;
    this.node = parts.node;
    this.header = header;
    this.version = header.version;
    this.file = parts.file;
    this.backing = parts.backing;
    this.readOnly = parts.readOnly;
    this.clusterBits = header.clusterBits;
    this.clusterSize = 2 ** header.clusterBits;
    this.length = header.size;
    this.incompatibleFeatures = header.incompatibleFeatures;
    const compatible = (header.compatibleFeatures & COMPAT_LAZY_REFCOUNTS) !== 0n;
    this.lazyRefcounts = this.version === 3 && (parts.lazyRefcounts ?? compatible);
    this.#notice = (message) => parts.notice(message);
    this.allocatedEnd = this.roundUp(parts.file.length);
    this.generation = new Generation(this, () => parts.random());
    this.l1 = new L1Table(this, parts.l1, header.l1TableOffset);
    this.map = new ClusterMap(this, parts.l2CacheSize);
    this.refcounts = new Refcounts(
      this,
      parts.refcountTable,
      header.refcountTableOffset,
      parts.refcountCacheSize,
    );
  }

  /** Up to a whole number of clusters. */
  roundUp(bytes: number): number {
    return Math.ceil(bytes / this.clusterSize) * this.clusterSize;
  }

  get dirtyBit(): boolean {
    return (this.incompatibleFeatures & INCOMPAT_DIRTY) !== 0n;
  }

  /**
   * The first line of every attempt that changes tables: OK, FAULT while another operation holds
   * them (or the dirty bit must be set first), -EIO once the image is known to be corrupt.
   */
  beginChange(): Ret {
    if (this.corrupt) return -EIO;
    if (this.faults.busy) return this.faults.fault(this.faults.idle);
    if (this.lazyRefcounts && !this.dirtyBit) {
      return this.faults.fault(() => this.faults.exclusive(() => this.setDirtyBit()));
    }
    return OK;
  }

  /** Fills `qiov` from the file. Past its end, but in its last cluster, there are zeroes. */
  readFile(host: number, qiov: IOVector): MaybeRet {
    const left = this.file.length - host;
    if (left >= qiov.size) return this.file.preadv(host, qiov);
    if (host + qiov.size > this.roundUp(this.file.length)) {
      return this.complain(`cluster at ${host} lies past the end of the file`);
    }
    const there = Math.max(left, 0);
    qiov.fill(0, there);
    return there === 0 ? OK : this.file.preadv(host, qiov.slice(0, there));
  }

  /** An attempt: makes the file reach `end`, so that clusters before it can be written. */
  ensureFileLength(end: number): Ret {
    if (end <= this.file.length) return OK;
    return this.faults.fault(() => this.faults.exclusive(() => this.growFile(end)));
  }

  async growFile(end: number): Promise<Ret> {
    if (end <= this.file.length) return OK;
    const step = Math.min(Math.max(this.file.length / 8, MIN_GROWTH), MAX_GROWTH);
    const generous = this.roundUp(this.file.length + step);
    if (generous > end) {
      const ret = await this.file.truncate(generous);
      if (ret >= 0) return ret;
    }
    return this.file.truncate(end);
  }

  /** Writes `bytes` into the header. */
  writeHeader(offset: number, bytes: Uint8Array): MaybeRet {
    return this.file.pwritev(offset, IOVector.of(bytes));
  }

  /** Sets or clears incompatible feature bits, on disk first; not flushed. */
  changeFeatures(set: bigint, clear: bigint): MaybeRet {
    const value = (this.incompatibleFeatures | set) & ~clear;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value);
    const ret = this.writeHeader(HEADER_INCOMPATIBLE, bytes);
    const done = (later: Ret): Ret => {
      if (later >= 0) this.incompatibleFeatures = value;
      return later;
    };
    return typeof ret === 'number' ? done(ret) : ret.then(done);
  }

  /** Says durably that refcounts on disk may be too low (lazy refcounts). */
  async setDirtyBit(): Promise<Ret> {
    const ret = await this.changeFeatures(INCOMPAT_DIRTY, 0n);
    return ret < 0 ? ret : this.file.flush();
  }

  /** Tells people once, and answers -EIO: this request cannot be served, others perhaps can. */
  complain(what: string): Ret {
    this.notice(`${this.node}: qcow2: ${what}`);
    return -EIO;
  }

  /** Tells people, each thing once and at most a hundred. */
  notice(message: string): void {
    if (this.#told.has(message) || this.#told.size >= 100) return;
    this.#told.add(message);
    this.#notice(message);
  }

  /**
   * The metadata contradict themselves. Nothing is changed from now on, and the image says so on
   * disk. Answers -EIO.
   */
  corruption(what: string): Ret {
    this.notice(`${this.node}: qcow2: image is corrupt: ${what}`);
    if (this.readOnly || this.corrupt) return -EIO;
    this.corrupt = true;
    if (this.version === 3) this.#marking = this.changeFeatures(INCOMPAT_CORRUPT, 0n);
    return -EIO;
  }

  /** Changes nothing from now on, though the image on disk is good: opened again, it goes on. */
  freeze(why: string): void {
    this.notice(`${this.node}: qcow2: takes no more changes until it is opened again: ${why}`);
    this.corrupt = this.frozen = true;
  }

  /** Waits until the corrupt bit, if there was need of it, is written. */
  async marked(): Promise<void> {
    await this.#marking;
  }

  /** What metadata `[host, host + bytes)` would hit, or undefined (QEMU's overlap check). */
  overlap(host: number, bytes: number): string | undefined {
    const fixed = this.overlapFixed(host, bytes);
    if (fixed !== undefined) return fixed;
    if (this.map.cache.overlaps(host, bytes)) return 'active L2 table';
    if (this.refcounts.cache.overlaps(host, bytes)) return 'refcount block';
    return undefined;
  }

  /** As `overlap`, of what does not move: header, L1 table, refcount table. */
  overlapFixed(host: number, bytes: number): string | undefined {
    if (host < this.clusterSize) return 'main header';
    const { l1, refcounts } = this;
    if (host < l1.offset + l1.bytes.length && l1.offset < host + bytes) return 'active L1 table';
    if (
      host < refcounts.tableOffset + refcounts.table.length &&
      refcounts.tableOffset < host + bytes
    ) {
      return 'refcount table';
    }
    return undefined;
  }

  /** Writes all metadata in order; see write-back.ts. */
  writeBack(final = false): MaybeRet {
    if (this.faults.busy) {
      const idle = this.faults.idle();
      return typeof idle === 'number' ? idle : idle.then(() => this.writeBack(final));
    }
    return this.faults.exclusive(() => writeBack(this, final));
  }
}
