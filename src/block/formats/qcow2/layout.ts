// Where things lie in an image that is laid out in one go: header, refcount table, refcount blocks,
// L1 table, then L2 tables and data. Everything up to the end counts as used once.

import { BlockError } from '../../block-error.ts';
import { setRefcount } from './refcount-bits.ts';
import { MAX_L1_BYTES, MAX_REFCOUNT_TABLE_BYTES, SECTOR_BYTES } from './spec.ts';

/** What a new image is to hold. */
export interface Contents {
  /** Of the guest's disk, bytes; a multiple of 512. */
  readonly size: number;
  readonly clusterSize: number;
  /** log2 of the bits of a refcount. */
  readonly refcountOrder: number;
  readonly l2Tables: number;
  readonly dataClusters: number;
}

/** Where things start, in clusters. */
export interface Layout {
  readonly refcountTable: number;
  readonly refcountBlocks: number;
  readonly l1: number;
  /** Entries. */
  readonly l1Size: number;
  readonly l2: number;
  readonly data: number;
  readonly end: number;
}

/** Entries of the L1 table of a disk of `size` bytes. Throws BlockError('EFBIG'). */
export function l1SizeFor(size: number, clusterSize: number): number {
  if (!Number.isSafeInteger(size) || size < 0 || size % SECTOR_BYTES !== 0) {
    throw new BlockError('EINVAL', `qcow2: the size must be a multiple of 512, not ${size}`);
  }
  const l1Size = Math.ceil(size / (clusterSize * (clusterSize / 8)));
  if (l1Size * 8 > MAX_L1_BYTES) {
    const most = (MAX_L1_BYTES / 8) * clusterSize * (clusterSize / 8);
    const message = `qcow2: ${size} bytes are too much for clusters of ${clusterSize} (at most ${most})`;
    throw new BlockError('EFBIG', message);
  }
  return l1Size;
}

/** Throws BlockError: EINVAL, EFBIG. */
export function planLayout(contents: Contents): Layout {
  const { size, clusterSize, l2Tables, dataClusters } = contents;
  const l1Size = l1SizeFor(size, clusterSize);
  const l1Clusters = Math.max(Math.ceil((l1Size * 8) / clusterSize), 1);
  const fixed = 1 + l1Clusters + l2Tables + dataClusters;
  const perBlock = refcountsPerBlock(contents);
  let blocks = 0;
  let table = 0;
  for (let stable = false; !stable;) {
    const needed = Math.ceil((fixed + blocks + table) / perBlock);
    const tableNeeded = Math.ceil((needed * 8) / clusterSize);
    stable = needed === blocks && tableNeeded === table;
    blocks = needed;
    table = tableNeeded;
  }
  if (table * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
    throw new BlockError('EFBIG', `qcow2: ${size} bytes need a refcount table above 8 MiB`);
  }
  const refcountBlocks = 1 + table;
  const l1 = refcountBlocks + blocks;
  const l2 = l1 + l1Clusters;
  const data = l2 + l2Tables;
  return { refcountTable: 1, refcountBlocks, l1, l1Size, l2, data, end: data + dataClusters };
}

/** Clusters that one refcount block counts. */
export function refcountsPerBlock({
  clusterSize,
  refcountOrder,
}: Pick<Contents, 'clusterSize' | 'refcountOrder'>): number {
  return (clusterSize * 8) / 2 ** refcountOrder;
}

/** The refcount table of `layout`, whole clusters. */
export function refcountTableOf(layout: Layout, clusterSize: number): Uint8Array<ArrayBuffer> {
  const table = new Uint8Array((layout.refcountBlocks - layout.refcountTable) * clusterSize);
  const view = new DataView(table.buffer);
  for (let block = layout.refcountBlocks; block < layout.l1; block++) {
    view.setBigUint64((block - layout.refcountBlocks) * 8, BigInt(block * clusterSize));
  }
  return table;
}

/** Refcount block `index` of `layout`: one for each cluster before its end. */
export function refcountBlockOf(
  layout: Layout,
  index: number,
  contents: Pick<Contents, 'clusterSize' | 'refcountOrder'>,
): Uint8Array<ArrayBuffer> {
  const perBlock = refcountsPerBlock(contents);
  const block = new Uint8Array(contents.clusterSize);
  const view = new DataView(block.buffer);
  const count = Math.min(perBlock, layout.end - index * perBlock);
  for (let i = 0; i < count; i++) setRefcount(view, contents.refcountOrder, i, 1);
  return block;
}
