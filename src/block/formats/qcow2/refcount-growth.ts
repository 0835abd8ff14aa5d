// New refcount blocks, and a longer refcount table: the refcounts that count themselves. Rare, and
// exclusive, so this is plain asynchronous code. What points at something is written only after
// that something, and the refcounts it needs, are durable.

import { IOVector } from '../../../base/io-vector.ts';
import { EFBIG, OK } from '../../../base/ret.ts';
import type { Ret } from '../../../base/ret.ts';
import type { Qcow2Image } from './image.ts';
import { setRefcount } from './refcount-bits.ts';
import { HEADER_REFCOUNT_TABLE, MAX_REFCOUNT_TABLE_BYTES } from './spec.ts';

/** Makes refcount block `index`. It takes the first cluster that it counts, which is free. */
export async function createBlock(image: Qcow2Image, index: number): Promise<Ret> {
  const { refcounts, clusterSize } = image;
  if (index >= refcounts.tableSize) {
    const host = await allocateArea(image, 0, true);
    return Math.min(host, OK);
  }
  const host = index * refcounts.perBlock * clusterSize;
  const hit = image.overlap(host, clusterSize);
  if (hit !== undefined) {
    return image.corruption(`no refcount block ${index}, though ${hit} lies at ${host}`);
  }
  const grown = await image.growFile(host + clusterSize);
  if (grown < 0) return grown;
  image.allocatedEnd = Math.max(image.allocatedEnd, host + clusterSize);
  const block = blockOf(image, index, host / clusterSize, host / clusterSize + 1);
  return writeInOrder([
    () => image.file.pwritev(host, block),
    () => image.file.flush(),
    () => writeEntries(image, [index], [host]),
  ]);
}

/**
 * Takes `clusters` contiguous clusters at the end of what is used, with refcount one, and makes
 * the refcount blocks (and, if `grow` or need be, the refcount table) that it takes to count them.
 * Answers the host offset, everything that counts them being durable; or -errno.
 */
export async function allocateArea(
  image: Qcow2Image,
  clusters: number,
  grow: boolean,
): Promise<Ret> {
  const { refcounts, clusterSize } = image;
  const start = Math.ceil(image.allocatedEnd / clusterSize);
  let first = grow ? Math.max(start, refcounts.tableSize * refcounts.perBlock) : start;
  let plan = planArea(image, first, clusters, grow);
  for (let cluster = first; cluster < plan.end;) {
    const at = cluster * clusterSize;
    const count = await image.faults.retry(() => refcounts.get(at));
    if (count < 0) return count;
    cluster += 1;
    if (count > 0) {
      first = cluster;
      plan = planArea(image, first, clusters, grow);
    }
  }
  if (plan.tableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) return -EFBIG;
  const grown = await image.growFile(plan.end * clusterSize);
  if (grown < 0) return grown;
  image.allocatedEnd = Math.max(image.allocatedEnd, plan.end * clusterSize);
  for (let cluster = first; cluster < plan.end; cluster++) {
    if (plan.blocks.includes(Math.floor(cluster / refcounts.perBlock))) continue;
    const at = cluster * clusterSize;
    const ret = await image.faults.retry(() => refcounts.adjust(at, 1));
    if (ret < 0) return ret;
  }
  const hosts = plan.blocks.map((_, i) => (first + i) * clusterSize);
  for (const [i, block] of plan.blocks.entries()) {
    const ret = await image.file.pwritev(hosts[i]!, blockOf(image, block, first, plan.end));
    if (ret < 0) return ret;
  }
  const counted = await writeInOrder([
    () => refcounts.cache.writeDirty(),
    () => image.file.flush(),
  ]);
  if (counted < 0) return counted;
  const ret =
    plan.tableClusters > 0
      ? await switchTable(image, plan, hosts, (first + hosts.length) * clusterSize)
      : await writeEntries(image, plan.blocks, hosts);
  if (ret < 0) return ret;
  const synced = await image.file.flush();
  return synced < 0 ? synced : (first + hosts.length + plan.tableClusters) * clusterSize;
}

/** Blocks first, then the table, then the clusters asked for. */
interface Area {
  /** Indices of blocks to make; consecutive. */
  readonly blocks: readonly number[];
  readonly tableClusters: number;
  /** First cluster past the area. */
  readonly end: number;
}

function planArea(image: Qcow2Image, first: number, clusters: number, grow: boolean): Area {
  const { refcounts, clusterSize } = image;
  let blocks: number[] = [];
  let tableClusters = 0;
  for (;;) {
    const end = first + Math.max(blocks.length + tableClusters + clusters, 1);
    const last = Math.floor((end - 1) / refcounts.perBlock);
    const missing: number[] = [];
    for (let block = Math.floor(first / refcounts.perBlock); block <= last; block++) {
      if (refcounts.blockOffset(block) === 0) missing.push(block);
    }
    let table = 0;
    if (grow || last >= refcounts.tableSize) {
      const entries = Math.max(last + 1, Math.ceil(refcounts.tableSize * 1.5));
      table = Math.ceil((entries * 8) / clusterSize);
    }
    if (missing.length === blocks.length && table === tableClusters) {
      return { blocks, tableClusters, end };
    }
    blocks = missing;
    tableClusters = Math.max(table, tableClusters);
  }
}

/** A refcount block in which the clusters `[from, to)` have refcount one. */
function blockOf(image: Qcow2Image, index: number, from: number, to: number): IOVector {
  const { refcounts } = image;
  const bytes = new Uint8Array(image.clusterSize);
  const view = new DataView(bytes.buffer);
  const base = index * refcounts.perBlock;
  const end = Math.min(to, base + refcounts.perBlock);
  for (let cluster = Math.max(from, base); cluster < end; cluster++) {
    setRefcount(view, refcounts.order, cluster - base, 1);
  }
  return IOVector.of(bytes);
}

/** Points the entries `blocks` of the refcount table at `hosts`, on disk and then in memory. */
async function writeEntries(
  image: Qcow2Image,
  blocks: readonly number[],
  hosts: readonly number[],
): Promise<Ret> {
  for (const [i, block] of blocks.entries()) {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(hosts[i]!));
    const at = image.refcounts.tableOffset + block * 8;
    const ret = await image.file.pwritev(at, IOVector.of(bytes));
    if (ret < 0) return ret;
    image.refcounts.setBlockOffset(block, hosts[i]!);
  }
  return OK;
}

/** Writes a longer refcount table at `offset` with `hosts` in it, and the header that names it. */
async function switchTable(
  image: Qcow2Image,
  plan: Area,
  hosts: number[],
  offset: number,
): Promise<Ret> {
  const { refcounts } = image;
  const bytes = new Uint8Array(plan.tableClusters * image.clusterSize);
  bytes.set(refcounts.table);
  const view = new DataView(bytes.buffer);
  plan.blocks.forEach((block, i) => view.setBigUint64(block * 8, BigInt(hosts[i]!)));
  const header = new Uint8Array(12);
  new DataView(header.buffer).setBigUint64(0, BigInt(offset));
  new DataView(header.buffer).setUint32(8, plan.tableClusters);
  const ret = await writeInOrder([
    () => image.file.pwritev(offset, IOVector.of(bytes)),
    () => image.file.flush(),
    () => image.writeHeader(HEADER_REFCOUNT_TABLE, header),
  ]);
  if (ret < 0) return ret;
  image.freed.add(refcounts.tableOffset, refcounts.table.length);
  refcounts.replaceTable(bytes, offset);
  return OK;
}

async function writeInOrder(steps: readonly (() => Ret | Promise<Ret>)[]): Promise<Ret> {
  for (const step of steps) {
    const ret = await step();
    if (ret < 0) return ret;
  }
  return OK;
}
