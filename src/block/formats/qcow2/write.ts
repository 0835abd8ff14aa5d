// Writing: what has a host cluster of its own is overwritten in place; everything else gets new
// clusters. Data first, whole clusters of it, then the L2 entry; what the write does not cover of a
// new cluster is copied from where the guest read it until now (copy on write).

import type { IOVector } from '../../../base/io-vector.ts';
import { EIO, ENOTSUP, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import { Allocation } from './allocation.ts';
import { COMPRESSED, DATA, ZERO_ALLOCATED } from './cluster-map.ts';
import { readsAsZeroes, writeNew } from './copy-on-write.ts';
import { FAULT } from './faults.ts';
import type { Qcow2Image } from './image.ts';
import { partOf } from './read.ts';

/** New clusters up to this many bytes are written in one go, with what is copied around the data. */
const MAX_MERGED_BYTES = 256 * 1024;

/** Writes `qiov` to the guest's disk at `offset`. */
export function pwritev(image: Qcow2Image, offset: number, qiov: IOVector): MaybeRet {
  const bytes = qiov.size;
  if (bytes === 0) return OK;
  if (image.corrupt) return -EIO;
  const { map } = image;
  if (map.map(offset, bytes) === OK && map.bytes === bytes && map.kind === DATA) {
    return overwrite(image, map.host, qiov);
  }
  return new WriteRequest(image, offset, qiov).run();
}

function overwrite(image: Qcow2Image, host: number, qiov: IOVector): MaybeRet {
  const hit = image.overlap(host, qiov.size);
  if (hit !== undefined) return image.corruption(`write to ${host} would overlap ${hit}`);
  const end = host + qiov.size;
  if (end <= image.file.length) return image.file.pwritev(host, qiov);
  if (end > image.roundUp(image.file.length)) {
    return image.complain(`cluster at ${host} lies past the end of the file`);
  }
  return growThenWrite(image, host, qiov);
}

async function growThenWrite(image: Qcow2Image, host: number, qiov: IOVector): Promise<Ret> {
  const ret = await image.faults.retry(() => {
    const free = image.beginChange();
    return free < 0 ? free : image.ensureFileLength(host + qiov.size);
  });
  return ret < 0 ? ret : image.file.pwritev(host, qiov);
}

/** A write of several runs, one that allocates, or one that waits for a table. */
class WriteRequest {
  readonly #image: Qcow2Image;
  readonly #offset: number;
  readonly #qiov: IOVector;
  readonly #pending: Promise<Ret>[] = [];
  #done = 0;
  #error: Ret = OK;
  #planned: Allocation | undefined;

  constructor(image: Qcow2Image, offset: number, qiov: IOVector) {
    this.#image = image;
    this.#offset = offset;
    this.#qiov = qiov;
  }

  run(): MaybeRet {
    const { faults } = this.#image;
    while (this.#done < this.#qiov.size && this.#error === OK) {
      const ret = this.#step();
      if (ret === FAULT) {
        const helped = faults.resolve();
        if (typeof helped !== 'number') return helped.then((later) => this.#resume(later));
        if (helped < 0) this.#error = helped;
      } else if (ret < 0) this.#error = ret;
    }
    return this.#settle();
  }

  /** An attempt: starts the next part. */
  #step(): Ret {
    const image = this.#image;
    const at = this.#offset + this.#done;
    const left = this.#qiov.size - this.#done;
    const ret = image.map.map(at, left);
    if (ret < 0) return ret;
    if (image.map.kind === DATA) {
      const { bytes, host } = image.map;
      this.#add(bytes, overwrite(image, host, partOf(this.#qiov, this.#done, bytes)));
      return OK;
    }
    const planned = this.#plan(at, left);
    if (planned < 0) return planned;
    const allocation = this.#planned!;
    const from = at - allocation.guest;
    const bytes = Math.min(left, allocation.bytes - from);
    this.#add(bytes, writeNew(image, allocation, from, partOf(this.#qiov, this.#done, bytes)));
    return OK;
  }

  #add(bytes: number, part: MaybeRet): void {
    this.#done += bytes;
    if (typeof part !== 'number') this.#pending.push(part);
    else if (part < 0) this.#error = part;
  }

  /** An attempt: takes clusters for a write at `at` of up to `left` bytes, into `#planned`. */
  #plan(at: number, left: number): Ret {
    const image = this.#image;
    const { map, clusterSize } = image;
    const { kind, host } = map;
    if (kind === COMPRESSED) {
      image.notice(`${image.node}: writing to compressed clusters is not supported`);
      return -ENOTSUP;
    }
    const guest = at - (at % clusterSize);
    // One kind in one slice, so that it can be linked in one go; the rest comes next.
    const sliceEnd = (Math.floor(at / map.span) + 1) * map.span;
    let bytes = Math.min(image.roundUp(at + map.bytes), sliceEnd) - guest;
    const zeroes = readsAsZeroes(image, kind, guest);
    const begun = image.beginChange();
    if (begun < 0) return begun;
    for (const other of image.allocations) {
      if (other.guest >= guest + bytes || other.guest + other.bytes <= guest) continue;
      if (other.guest <= guest) return image.faults.fault(() => other.ended());
      bytes = other.guest - guest;
    }
    if (bytes > MAX_MERGED_BYTES) {
      // Large: a cluster written in part goes alone, whole ones together and straight down.
      if (at !== guest || left < clusterSize) bytes = clusterSize;
      else bytes = Math.min(bytes, left - (left % clusterSize));
    }
    if (kind === ZERO_ALLOCATED) {
      const start = host - (at - guest);
      const hit = image.overlap(start, bytes);
      if (hit !== undefined) return image.corruption(`write to ${start} would overlap ${hit}`);
      const long = image.ensureFileLength(start + bytes);
      if (long < 0) return long;
      this.#planned = new Allocation(guest, bytes, start, { taken: false, fresh: false, zeroes });
    } else {
      const table = map.ensureTable(guest);
      if (table < 0) return table;
      const taken = image.refcounts.allocate(bytes / clusterSize);
      if (taken < 0) return taken;
      const { runFresh, runClusters } = image.refcounts;
      const flags = { taken: true, fresh: runFresh, zeroes };
      this.#planned = new Allocation(guest, runClusters * clusterSize, taken, flags);
    }
    image.allocations.add(this.#planned);
    return OK;
  }

  #resume(ret: Ret): MaybeRet {
    if (ret < 0) this.#error = ret;
    return this.run();
  }

  #settle(): MaybeRet {
    if (this.#pending.length === 0) return this.#error;
    const error = this.#error;
    return Promise.all(this.#pending).then((rets) => rets.reduce((a, b) => (a < 0 ? a : b), error));
  }
}
