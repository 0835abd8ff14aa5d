// New refcount structures at the end of the file, from nothing but the references found. The old
// ones stay in force until the header names the new ones, and are free space afterwards.

import { IOVector } from '../../../base/io-vector.ts';
import type { Ret } from '../../../base/ret.ts';
import { BlockError } from '../../block-error.ts';
import { collectReferences } from './collect-references.ts';
import type { Qcow2Image } from './image.ts';
import { maxRefcount, setRefcount } from './refcount-bits.ts';
import { HEADER_REFCOUNT_TABLE, MAX_REFCOUNT_TABLE_BYTES } from './spec.ts';

/** Throws BlockError when a write fails, or a refcount does not fit the image's width. */
export async function rebuildRefcounts(image: Qcow2Image): Promise<void> {
  const { refcounts, clusterSize, file, node } = image;
  const found = await collectReferences(image, undefined, true);
  const { perBlock, order } = refcounts;
  const first = found.clusters;
  let total = first;
  let blocks = 0;
  let tableClusters = 0;
  for (let stable = false; !stable;) {
    total = first + blocks + tableClusters;
    const needed = Math.ceil(total / perBlock);
    const table = Math.ceil((needed * 8) / clusterSize);
    stable = needed === blocks && table === tableClusters;
    blocks = needed;
    tableClusters = table;
  }
  if (tableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
    throw new BlockError('EFBIG', `${node}: the refcount table would be above 8 MiB`, { node });
  }
  await must(node, image.growFile(total * clusterSize));
  image.allocatedEnd = Math.max(image.allocatedEnd, total * clusterSize);
  const table = new Uint8Array(tableClusters * clusterSize);
  const tableView = new DataView(table.buffer);
  for (let index = 0; index < blocks; index++) {
    const bytes = new Uint8Array(clusterSize);
    const view = new DataView(bytes.buffer);
    const base = index * perBlock;
    for (let i = 0; i < perBlock && base + i < total; i++) {
      const count = base + i < first ? found.expected[base + i]! : 1;
      if (count > maxRefcount(order)) {
        const message = `${node}: cluster ${base + i} has ${count} references, too many to count`;
        throw new BlockError('ERANGE', message, { node });
      }
      setRefcount(view, order, i, count);
    }
    const host = (first + index) * clusterSize;
    await must(node, file.pwritev(host, IOVector.of(bytes)));
    tableView.setBigUint64(index * 8, BigInt(host));
  }
  const offset = (first + blocks) * clusterSize;
  await must(node, file.pwritev(offset, IOVector.of(table)));
  await must(node, file.flush());
  const header = new Uint8Array(12);
  new DataView(header.buffer).setBigUint64(0, BigInt(offset));
  new DataView(header.buffer).setUint32(8, tableClusters);
  await must(node, image.writeHeader(HEADER_REFCOUNT_TABLE, header));
  await must(node, file.flush());
  refcounts.cache.drop();
  refcounts.replaceTable(table, offset);
  refcounts.rescan();
}

async function must(node: string, ret: Ret | Promise<Ret>): Promise<void> {
  const done = await ret;
  if (done < 0) throw BlockError.fromRet(done, `${node}: rebuild of the refcounts`, node);
}
