// Growing and shrinking the guest's disk. The size in the header changes last when it grows and
// first when it shrinks, so that a power cut leaves one of the two sizes and leaks at most.

import { IOVector } from '../../../base/io-vector.ts';
import { EFBIG, EINVAL, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import { DATA, DATA_SHARED, UNALLOCATED } from './cluster-map.ts';
import { changeClusters, pwriteZeroes } from './deallocate.ts';
import type { Qcow2Image } from './image.ts';
import { allocateArea } from './refcount-growth.ts';
import { HEADER_L1_SIZE, HEADER_SIZE, MAX_L1_BYTES, SECTOR_BYTES } from './spec.ts';
import { writeBack } from './write-back.ts';
import { pwritev } from './write.ts';

const ZERO_BYTES = 64 * 1024;

/** Changes the size of the disk; what is new reads as zeroes. No request is in flight. */
export async function truncate(image: Qcow2Image, length: number): Promise<Ret> {
  if (length % SECTOR_BYTES !== 0) return -EINVAL;
  if (Math.ceil(length / image.map.tableSpan) * 8 > MAX_L1_BYTES) return -EFBIG;
  if (length === image.length) return OK;
  return length > image.length ? grow(image, length) : shrink(image, length);
}

async function grow(image: Qcow2Image, length: number): Promise<Ret> {
  const old = image.length;
  const entries = Math.ceil(length / image.map.tableSpan);
  if (entries > image.l1.size) {
    const ret = await change(image, () => growL1(image, entries));
    if (ret < 0) return ret;
  }
  image.length = length;
  let ret = await dropRemains(image, old, length);
  if (ret >= 0) ret = await zeroNew(image, old, length);
  if (ret >= 0) ret = await writeSize(image, old, length);
  if (ret < 0) image.length = old;
  return ret;
}

/** Clusters past the old end are of a disk that was longer: a power cut ended its shrinking midway. */
async function dropRemains(image: Qcow2Image, old: number, length: number): Promise<Ret> {
  const from = image.roundUp(old);
  const to = Math.min(image.roundUp(length), image.l1.size * image.map.tableSpan);
  return from < to ? changeClusters(image, from, to - from, 'drop') : OK;
}

/** What an allocated cluster holds past the old end, or the backing file has there, must not show. */
async function zeroNew(image: Qcow2Image, old: number, length: number): Promise<Ret> {
  const { map, backing, clusterSize } = image;
  const edge = Math.min(image.roundUp(old), length);
  if (edge > old) {
    const mapped = await image.faults.retry(() => map.map(old, edge - old));
    if (mapped < 0) return mapped;
    const shows = map.kind === UNALLOCATED && backing !== undefined && backing.length > old;
    if (map.kind === DATA || map.kind === DATA_SHARED || shows) {
      const ret = await pwritev(image, old, IOVector.of(new Uint8Array(edge - old)));
      if (ret < 0) return ret;
    }
  }
  const shown = Math.min(length, backing === undefined ? 0 : image.roundUp(backing.length));
  if (shown <= edge) return OK;
  if (image.version >= 3) return pwriteZeroes(image, edge, shown - edge, false);
  const zeroes = new Uint8Array(Math.max(ZERO_BYTES, clusterSize));
  for (let at = edge; at < shown; at += zeroes.length) {
    const part = IOVector.of(zeroes.subarray(0, Math.min(zeroes.length, shown - at)));
    const ret = await pwritev(image, at, part);
    if (ret < 0) return ret;
  }
  return OK;
}

async function shrink(image: Qcow2Image, length: number): Promise<Ret> {
  const old = image.length;
  const sized = await writeSize(image, old, length);
  if (sized < 0) return sized;
  const synced = await image.file.flush();
  if (synced < 0) return restoreSize(image, old, synced);
  const from = image.roundUp(length);
  const to = image.roundUp(old);
  image.length = length;
  const dropped = from < to ? await changeClusters(image, from, to - from, 'drop') : OK;
  return dropped < 0 ? dropped : change(image, async () => dropTables(image, length));
}

/** Lets go of the L2 tables that map nothing below `length`. */
function dropTables(image: Qcow2Image, length: number): Ret {
  const { map, l1 } = image;
  for (let index = Math.ceil(length / map.tableSpan); index < l1.size; index++) {
    const table = l1.l2Offset(index);
    if (table < 0) return table;
    if (table === 0) continue;
    map.cache.drop((key) => Math.floor(key / map.slicesPerTable) === index);
    l1.set(index, 0);
    image.freed.add(table, image.clusterSize);
  }
  return OK;
}

/** Runs `operation` when tables may be changed, alone. */
export function change(image: Qcow2Image, operation: () => Promise<Ret>): MaybeRet {
  let done = false;
  return image.faults.retry(() => {
    if (done) return OK;
    const begun = image.beginChange();
    if (begun < 0) return begun;
    done = true;
    return image.faults.fault(() => image.faults.exclusive(operation));
  });
}

/** Writes all tables, then the size into the header. On failure the size is `old` again. */
async function writeSize(image: Qcow2Image, old: number, length: number): Promise<Ret> {
  return change(image, async () => {
    const written = await writeBack(image, false);
    if (written < 0) return written;
    const synced = await image.file.flush();
    if (synced < 0) return synced;
    const ret = await putSize(image, length);
    return ret < 0 ? restoreSize(image, old, ret) : ret;
  });
}

function putSize(image: Qcow2Image, length: number): MaybeRet {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length));
  return image.writeHeader(HEADER_SIZE, bytes);
}

/**
 * The resize failed by `error`, but another size may stand in the header: opened again, the disk would
 * have it. Where the old one cannot be put back, nothing more may be written. Answers `error`.
 */
async function restoreSize(image: Qcow2Image, old: number, error: Ret): Promise<Ret> {
  if ((await putSize(image, old)) < 0) image.freeze('a resize failed, and so did going back');
  return error;
}

/** Moves the L1 table to a place with room for `entries`. */
async function growL1(image: Qcow2Image, entries: number): Promise<Ret> {
  const { l1, clusterSize } = image;
  const written = await writeBack(image, false);
  if (written < 0) return written;
  const bytes = new Uint8Array(entries * 8);
  bytes.set(l1.bytes);
  const host = await allocateArea(image, Math.ceil(bytes.length / clusterSize), false);
  if (host < 0) return host;
  const table = await image.file.pwritev(host, IOVector.of(bytes));
  if (table < 0) return table;
  const synced = await image.file.flush();
  if (synced < 0) return synced;
  const header = new Uint8Array(12);
  new DataView(header.buffer).setUint32(0, entries);
  new DataView(header.buffer).setBigUint64(4, BigInt(host));
  const ret = await image.writeHeader(HEADER_L1_SIZE, header);
  if (ret < 0) return ret;
  if (l1.bytes.length > 0) image.freed.add(l1.offset, image.roundUp(l1.bytes.length));
  l1.replace(bytes, host);
  return OK;
}
