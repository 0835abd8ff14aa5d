// A bounded cache of slices of one kind of table: L2 tables, or refcount blocks. `get` is the hot
// path: a lookup and a mark. Victims are chosen by the clock rule among clean slices; the owner says
// how dirty ones may be written, because that is where the order of writes matters.

import { IOVector } from '../../../base/io-vector.ts';
import { MemoryRegion } from '../../../base/memory-region.ts';
import { EIO, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';

/** One cached slice. The bytes are as on disk. */
export class TableSlice {
  key = -1;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly qiov: IOVector;
  dirty = false;
  /** Used since the clock's hand last passed. */
  used = false;
  /** Being read or written: nobody may change or reuse it until this settles. */
  io: Promise<Ret> | undefined;
  /** Host cluster that it is part of, for `overlaps`. */
  hostCluster = -1;

  /** `[offset, offset + bytes)` of `arena`. */
  constructor(arena: MemoryRegion, offset: number, bytes: number) {
    this.bytes = arena.bytes.subarray(offset, offset + bytes);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, bytes);
    this.qiov = new IOVector(arena, bytes === 0 ? [] : [offset, bytes]);
  }
}

/** What a cache needs from the image that owns it. */
export interface TableCacheOwner {
  /** Host offset of slice `key`, bytes; or -errno when the pointer to it is bad. */
  locate(key: number): number;
  /** Fills `qiov`; bytes past the end of the file, in its last cluster, read as zeroes. */
  read(host: number, qiov: IOVector): MaybeRet;
  write(host: number, qiov: IOVector): MaybeRet;
  /** All slices are dirty: makes at least one clean. */
  makeRoom(): MaybeRet;
}

/** Slices share memory regions, because a region has a cost of its own: of so many at first, and at most. */
const LEAST_ARENA = 4;
const ARENA_SLICES = 64;

const NO_SLICE = new TableSlice(new MemoryRegion(new Uint8Array(0)), 0, 0);

export class TableCache {
  readonly sliceBytes: number;
  readonly capacity: number;
  hits = 0;
  misses = 0;
  evictions = 0;
  dirtyCount = 0;
  /** Bytes of tables that there is room for now; at most `capacity` slices. */
  memory = 0;
  /** Clusters a byte: exact, as the size is a power of two. */
  readonly #perCluster: number;
  readonly #owner: TableCacheOwner;
  readonly #slices: TableSlice[] = [];
  readonly #byKey = new Map<number, TableSlice>();
  readonly #loading = new Map<number, Promise<Ret>>();
  /** How many cached slices lie in a host cluster. */
  readonly #hostClusters = new Map<number, number>();
  #last: TableSlice = NO_SLICE;
  #hand = 0;
  #arena: MemoryRegion | undefined;

  /** `budget`: bytes of tables to hold at most; at least four slices are. */
  constructor(sliceBytes: number, budget: number, clusterBits: number, owner: TableCacheOwner) {
    this.sliceBytes = sliceBytes;
    this.capacity = Math.max(4, Math.floor(budget / sliceBytes));
    this.#perCluster = 1 / 2 ** clusterBits;
    this.#owner = owner;
  }

  /** The slice, when it is cached. */
  get(key: number): TableSlice | undefined {
    let slice: TableSlice | undefined = this.#last;
    if (slice.key !== key) {
      slice = this.#byKey.get(key);
      if (slice === undefined) return undefined;
      this.#last = slice;
      slice.used = true;
    }
    this.hits += 1;
    return slice;
  }

  /** Reads slice `key` into the cache. On OK the caller looks again (and perhaps faults again). */
  load(key: number): MaybeRet {
    const loading = this.#loading.get(key);
    if (loading !== undefined) return loading;
    if (this.#byKey.has(key)) return OK;
    const host = this.#owner.locate(key);
    if (host < 0) return host;
    const slice = this.#take();
    if (slice === undefined) return this.#makeRoom();
    this.misses += 1;
    const ret = this.#owner.read(host, slice.qiov);
    if (typeof ret === 'number') return this.#loaded(slice, key, host, ret);
    const io = ret.then((later) => {
      slice.io = undefined;
      this.#loading.delete(key);
      return this.#loaded(slice, key, host, later);
    });
    slice.io = io;
    this.#loading.set(key, io);
    return io;
  }

  /** To be called by whoever changed `slice.bytes`. */
  markDirty(slice: TableSlice): void {
    if (slice.dirty) return;
    slice.dirty = true;
    this.dirtyCount += 1;
  }

  /** Writes the dirty slices that `which` picks. The first error wins; what failed stays dirty. */
  writeDirty(which: (key: number) => boolean = () => true): MaybeRet {
    if (this.dirtyCount === 0) return OK;
    const pending: Promise<Ret>[] = [];
    let first: Ret = OK;
    for (const slice of this.#slices) {
      if (!slice.dirty || !which(slice.key)) continue;
      const ret = this.#write(slice);
      if (typeof ret !== 'number') pending.push(ret);
      else if (ret < 0 && first === OK) first = ret;
    }
    if (pending.length === 0) return first;
    return Promise.all(pending).then((rets) => rets.reduce((a, b) => (a < 0 ? a : b), first));
  }

  /** Writes one dirty slice, so that a load finds room. For tables with no order to keep. */
  writeOne(): MaybeRet {
    const slice = this.#slices.find((s) => s.dirty && s.io === undefined);
    return slice === undefined ? OK : this.#write(slice);
  }

  /** True when a cached table lies in `[host, host + bytes)`. */
  overlaps(host: number, bytes: number): boolean {
    if (this.#hostClusters.size === 0) return false;
    const last = Math.floor((host + bytes - 1) * this.#perCluster);
    for (let cluster = Math.floor(host * this.#perCluster); cluster <= last; cluster++) {
      if (this.#hostClusters.has(cluster)) return true;
    }
    return false;
  }

  /** Forgets the slices that `which` picks, dirty or not. Nothing is in flight. */
  drop(which: (key: number) => boolean = () => true): void {
    for (const slice of this.#slices) if (slice.key >= 0 && which(slice.key)) this.#forget(slice);
  }

  #write(slice: TableSlice): MaybeRet {
    if (slice.io !== undefined) return slice.io;
    const host = this.#owner.locate(slice.key);
    if (host < 0) return host;
    const ret = this.#owner.write(host, slice.qiov);
    if (typeof ret === 'number') return this.#written(slice, ret);
    slice.io = ret.then((later) => {
      slice.io = undefined;
      return this.#written(slice, later);
    });
    return slice.io;
  }

  #written(slice: TableSlice, ret: Ret): Ret {
    if (ret >= 0 && slice.dirty) {
      slice.dirty = false;
      this.dirtyCount -= 1;
    }
    return ret;
  }

  #loaded(slice: TableSlice, key: number, host: number, ret: Ret): Ret {
    if (ret < 0) return ret;
    slice.key = key;
    slice.used = true;
    slice.hostCluster = Math.floor(host * this.#perCluster);
    const count = this.#hostClusters.get(slice.hostCluster) ?? 0;
    this.#hostClusters.set(slice.hostCluster, count + 1);
    this.#byKey.set(key, slice);
    return OK;
  }

  /** A slice that holds nothing, or undefined when each one is dirty or busy. */
  #take(): TableSlice | undefined {
    if (this.#slices.length < this.capacity) {
      const { sliceBytes, memory } = this;
      let at = this.#slices.length * sliceBytes;
      if (at === memory) {
        // As much again, so that few that are in use take little.
        const arena = Math.min(Math.max(at, LEAST_ARENA * sliceBytes), ARENA_SLICES * sliceBytes);
        const bytes = Math.min(arena, this.capacity * sliceBytes - at);
        this.#arena = new MemoryRegion(new Uint8Array(bytes));
        this.memory += bytes;
      }
      at -= this.memory - this.#arena!.bytes.length;
      const made = new TableSlice(this.#arena!, at, sliceBytes);
      this.#slices.push(made);
      return made;
    }
    for (let looked = 0; looked < 2 * this.capacity; looked++) {
      const slice = this.#slices[this.#hand]!;
      this.#hand = (this.#hand + 1) % this.capacity;
      if (slice.dirty || slice.io !== undefined) continue;
      if (slice.used && slice.key >= 0) {
        slice.used = false;
        continue;
      }
      if (slice.key >= 0) {
        this.evictions += 1;
        this.#forget(slice);
      }
      return slice;
    }
    return undefined;
  }

  #makeRoom(): MaybeRet {
    if (this.dirtyCount > 0) return this.#owner.makeRoom();
    // All are being loaded; when one has come, it may be a victim.
    for (const slice of this.#slices) if (slice.io !== undefined) return slice.io.then(() => OK);
    return -EIO;
  }

  #forget(slice: TableSlice): void {
    if (slice.dirty) {
      slice.dirty = false;
      this.dirtyCount -= 1;
    }
    this.#byKey.delete(slice.key);
    const count = this.#hostClusters.get(slice.hostCluster)! - 1;
    if (count === 0) this.#hostClusters.delete(slice.hostCluster);
    else this.#hostClusters.set(slice.hostCluster, count);
    slice.key = -1;
    if (this.#last === slice) this.#last = NO_SLICE;
  }
}
