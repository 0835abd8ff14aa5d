// Throws away everything that an image holds (bdrv_make_empty), so that its backing file shows again.
// Never in place: tables that count next to nothing and map nothing are written where nothing is in
// use, and then one write of one sector of the header makes them the image's. That is done twice, first
// beyond the end of the file and then at its start, so that the file can be cut off behind them. A
// power cut leaves the old image or an empty one, with nothing leaked.

import { IOVector } from '../../../base/io-vector.ts';
import { EFBIG, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import type { Qcow2Image } from './image.ts';
import { setRefcount } from './refcount-bits.ts';
import { change } from './resize.ts';
import { HEADER_L1_SIZE, MAX_REFCOUNT_TABLE_BYTES } from './spec.ts';

/** From l1_size to refcount_table_clusters: four fields, in the header's first sector. */
const FIELDS_BYTES = 24;

/**
 * The node is drained. Answers OK, or -errno: the image is as it was then, unless the write that makes
 * it another one failed; it takes no more changes after that, and is one or the other when opened again.
 */
export function makeEmpty(image: Qcow2Image): MaybeRet {
  return change(image, () => replaceAll(image));
}

async function replaceAll(image: Qcow2Image): Promise<Ret> {
  const end = Math.max(image.allocatedEnd, image.roundUp(image.file.length)) / image.clusterSize;
  const front = planArea(image, 1);
  const behind = planArea(image, Math.max(end, front.end));
  if (behind.tableClusters * image.clusterSize > MAX_REFCOUNT_TABLE_BYTES) return -EFBIG;
  const grown = await image.growFile(behind.end * image.clusterSize);
  if (grown < 0) return grown;
  image.allocatedEnd = behind.end * image.clusterSize;
  const replaced = await switchTo(image, behind);
  if (replaced < 0) return replaced;
  // It is done; what follows only gives back the room.
  const moved = await switchTo(image, front);
  if (moved < 0) return image.corrupt ? moved : OK;
  const cut = await inOrder([
    () => image.file.truncate(front.end * image.clusterSize),
    () => image.file.flush(),
  ]);
  // Only what is durably cut off will read as zeroes after a power cut, too, when it is used again.
  if (cut >= 0) image.allocatedEnd = front.end * image.clusterSize;
  return OK;
}

/** The tables of an empty image: refcount table, refcount blocks, L1 table, one after the other. */
interface Area {
  /** First cluster. */
  readonly first: number;
  readonly tableClusters: number;
  /** Indices of the refcount blocks that there are. */
  readonly blocks: readonly number[];
  /** First cluster of the L1 table. */
  readonly l1: number;
  readonly l1Entries: number;
  /** First cluster behind. */
  readonly end: number;
}

/** Plans them from cluster `first` on. In use are they, and the header. */
function planArea(image: Qcow2Image, first: number): Area {
  const { clusterSize, refcounts } = image;
  const l1Entries = Math.ceil(image.length / image.map.tableSpan);
  const l1Clusters = Math.max(Math.ceil((l1Entries * 8) / clusterSize), 1);
  let blocks: number[] = [];
  let tableClusters = 0;
  for (;;) {
    const l1 = first + tableClusters + blocks.length;
    const end = l1 + l1Clusters;
    const needed = [0];
    const last = Math.floor((end - 1) / refcounts.perBlock);
    for (let block = Math.floor(first / refcounts.perBlock); block <= last; block++) {
      if (block > 0) needed.push(block);
    }
    const table = Math.ceil(((last + 1) * 8) / clusterSize);
    if (needed.length === blocks.length && table === tableClusters) {
      return { first, tableClusters, blocks, l1, l1Entries, end };
    }
    // Both only grow, so this ends.
    blocks = needed.length > blocks.length ? needed : blocks;
    tableClusters = Math.max(table, tableClusters);
  }
}

/**
 * Writes the tables of `area`, where nothing is in use, and makes them the image's: on disk, durably,
 * and in memory.
 */
async function switchTo(image: Qcow2Image, area: Area): Promise<Ret> {
  const { clusterSize, file } = image;
  const table = new Uint8Array(area.tableClusters * clusterSize);
  const tableView = new DataView(table.buffer);
  for (const [i, block] of area.blocks.entries()) {
    const host = (area.first + area.tableClusters + i) * clusterSize;
    tableView.setBigUint64(block * 8, BigInt(host));
    const ret = await file.pwritev(host, IOVector.of(blockOf(image, area, block)));
    if (ret < 0) return ret;
  }
  const tableOffset = area.first * clusterSize;
  const l1Offset = area.l1 * clusterSize;
  const written = await inOrder([
    () => file.pwritev(tableOffset, IOVector.of(table)),
    () => file.pwriteZeroes(l1Offset, (area.end - area.l1) * clusterSize),
    () => file.flush(),
  ]);
  if (written < 0) return written;
  const fields = new DataView(new ArrayBuffer(FIELDS_BYTES));
  fields.setUint32(0, area.l1Entries);
  fields.setBigUint64(4, BigInt(l1Offset));
  fields.setBigUint64(12, BigInt(tableOffset));
  fields.setUint32(20, area.tableClusters);
  const switched = await inOrder([
    () => image.writeHeader(HEADER_L1_SIZE, new Uint8Array(fields.buffer)),
    () => file.flush(),
  ]);
  if (switched < 0) {
    image.freeze('it is not known which of its tables the header names');
    return switched;
  }
  image.map.cache.drop();
  image.refcounts.cache.drop();
  image.freed.clear();
  image.l1.replace(new Uint8Array(area.l1Entries * 8), l1Offset);
  image.refcounts.replaceTable(table, tableOffset);
  image.refcounts.rescan();
  return OK;
}

/** Refcount block `index` of `area`. */
function blockOf(image: Qcow2Image, area: Area, index: number): Uint8Array {
  const { perBlock, order } = image.refcounts;
  const block = new Uint8Array(image.clusterSize);
  const view = new DataView(block.buffer);
  if (index === 0) setRefcount(view, order, 0, 1);
  const base = index * perBlock;
  const end = Math.min(area.end, base + perBlock);
  for (let cluster = Math.max(area.first, base); cluster < end; cluster++) {
    setRefcount(view, order, cluster - base, 1);
  }
  return block;
}

async function inOrder(steps: readonly (() => MaybeRet)[]): Promise<Ret> {
  for (const step of steps) {
    const ret = await step();
    if (ret < 0) return ret;
  }
  return OK;
}
