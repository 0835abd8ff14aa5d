// The I/O of an allocating write: the data, and around it what the guest read there until now; then
// the link. It is one write to the file. Where the new clusters are known to read as zeroes, and so
// did the old ones, there is nothing to copy.

import { IOVector } from '../../../base/io-vector.ts';
import { MemoryRegion } from '../../../base/memory-region.ts';
import { ECANCELED, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import type { Allocation } from './allocation.ts';
import { UNALLOCATED, ZERO_ALLOCATED, ZERO_PLAIN } from './cluster-map.ts';
import type { Qcow2Image } from './image.ts';
import { preadv } from './read.ts';

/** True when clusters of `kind` from `guest` on surely read as zeroes. */
export function readsAsZeroes(image: Qcow2Image, kind: number, guest: number): boolean {
  if (kind === ZERO_PLAIN || kind === ZERO_ALLOCATED) return true;
  return kind === UNALLOCATED && (image.backing === undefined || guest >= image.backing.length);
}

/** Writes `qiov` at `from` in the clusters of `allocation`, then links them; or gives them back. */
export function writeNew(
  image: Qcow2Image,
  allocation: Allocation,
  from: number,
  qiov: IOVector,
): MaybeRet {
  const ret = writeClusters(image, allocation, from, qiov);
  if (typeof ret !== 'number') return ret.then((later) => linkOrAbandon(image, allocation, later));
  return linkOrAbandon(image, allocation, ret);
}

function writeClusters(
  image: Qcow2Image,
  allocation: Allocation,
  from: number,
  qiov: IOVector,
): MaybeRet {
  const { bytes, host, guest } = allocation;
  const end = from + qiov.size;
  if ((allocation.fresh && allocation.zeroes) || qiov.size === bytes) {
    return image.file.pwritev(host + from, qiov);
  }
  const region = takeRegion(image, bytes);
  const write = (ret: Ret): MaybeRet => {
    if (ret < 0) return ret;
    if (qiov.region.revoked) return -ECANCELED;
    qiov.copyTo(region.bytes, from);
    const written = image.file.pwritev(host, new IOVector(region, [0, bytes]));
    if (typeof written === 'number') image.spareRegion = region;
    return written;
  };
  if (allocation.zeroes) return write(OK);
  image.cowBytes += bytes - qiov.size;
  const head = copyOld(image, guest, region, 0, from);
  const tail = copyOld(image, guest, region, end, bytes);
  if (typeof head === 'number' && typeof tail === 'number') return write(Math.min(head, tail));
  return Promise.all([head, tail]).then(([a, b]) => write(Math.min(a, b)));
}

/** Zeroed memory to put clusters together in; the last one again where it is large enough. */
function takeRegion(image: Qcow2Image, bytes: number): MemoryRegion {
  const spare = image.spareRegion;
  if (spare === undefined || spare.length < bytes) return new MemoryRegion(new Uint8Array(bytes));
  image.spareRegion = undefined;
  spare.bytes.fill(0, 0, bytes);
  return spare;
}

/** Reads what the guest has at `[guest + from, guest + to)`; past the disk's end leave zeroes. */
function copyOld(
  image: Qcow2Image,
  guest: number,
  region: MemoryRegion,
  from: number,
  to: number,
): MaybeRet {
  const bytes = Math.min(guest + to, image.length) - (guest + from);
  return bytes <= 0 ? OK : preadv(image, guest + from, new IOVector(region, [from, bytes]));
}

function linkOrAbandon(image: Qcow2Image, allocation: Allocation, ret: Ret): MaybeRet {
  if (ret < 0) return abandon(image, allocation, ret);
  const linked = image.faults.retry(() => link(image, allocation));
  if (typeof linked !== 'number') return linked.then((later) => linkedOrNot(later));
  return linkedOrNot(linked);

  function linkedOrNot(later: Ret): MaybeRet {
    if (later < 0) return abandon(image, allocation, later);
    image.allocations.delete(allocation);
    allocation.end();
    return OK;
  }
}

/** An attempt: points the L2 entries at the new clusters. */
function link(image: Qcow2Image, allocation: Allocation): Ret {
  const begun = image.beginChange();
  if (begun < 0) return begun;
  const { map, clusterSize } = image;
  const slice = map.sliceForChange(allocation.guest);
  if (slice === undefined) return map.code;
  const first = map.entryOf(allocation.guest);
  for (let i = 0; i * clusterSize < allocation.bytes; i++) {
    const old = map.hostOf(slice, first + i);
    const host = allocation.host + i * clusterSize;
    map.setEntry(slice, first + i, host, false);
    if (old !== 0 && old !== host) image.freed.add(old, clusterSize);
  }
  return OK;
}

/** Nothing points to the clusters that were taken, so their refcounts may go down at once. */
async function abandon(image: Qcow2Image, allocation: Allocation, error: Ret): Promise<Ret> {
  if (allocation.taken) {
    for (let done = 0; done < allocation.bytes; done += image.clusterSize) {
      const at = allocation.host + done;
      await image.faults.retry(() => image.refcounts.adjust(at, -1));
    }
  }
  image.allocations.delete(allocation);
  allocation.end();
  return error;
}
