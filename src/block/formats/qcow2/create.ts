// Makes new images. Everything that counts clusters is laid out in one go: header, refcount table,
// refcount blocks, L1 table, and with preallocation=metadata all L2 tables and room for the data.

import { IOVector } from '../../../base/io-vector.ts';
import type { Ret } from '../../../base/ret.ts';
import type { BlockChild } from '../../block-child.ts';
import { BlockError } from '../../block-error.ts';
import { OptionReader } from '../../option-reader.ts';
import { buildHeader } from './build-header.ts';
import { l1SizeFor, planLayout, refcountBlockOf, refcountTableOf } from './layout.ts';
import type { Layout } from './layout.ts';
import { MAX_CLUSTER_BITS, MIN_CLUSTER_BITS, OFLAG_COPIED_HI } from './spec.ts';

export interface Qcow2CreateOptions {
  readonly version: 2 | 3;
  readonly clusterSize: number;
  /** log2 of the bits of a refcount. */
  readonly refcountOrder: number;
  readonly lazyRefcounts: boolean;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  readonly preallocation: 'off' | 'metadata';
}

/** Checks creation options, in qemu-img's spelling or blockdev-create's. Throws BlockError. */
export function parseCreateOptions(raw: Readonly<Record<string, unknown>>): Qcow2CreateOptions {
  const reader = new OptionReader('qcow2', dashed(raw));
  const compat = reader.choice('compat', ['0.10', '1.1', 'v2', 'v3']);
  const named = reader.choice('version', ['v2', 'v3']) ?? compat ?? 'v3';
  const version = named === 'v2' || named === '0.10' ? 2 : 3;
  const clusterSize =
    reader.size('cluster-size', 2 ** MIN_CLUSTER_BITS, 2 ** MAX_CLUSTER_BITS) ?? 65536;
  if (!Number.isInteger(Math.log2(clusterSize))) {
    throw reader.bad('cluster-size', 'a power of two between 512 and 2M');
  }
  const bits = reader.size('refcount-bits', 1, 64) ?? 16;
  if (!Number.isInteger(Math.log2(bits))) {
    throw reader.bad('refcount-bits', 'a power of two up to 64');
  }
  const lazyRefcounts = reader.boolean('lazy-refcounts') ?? false;
  if (version === 2 && (bits !== 16 || lazyRefcounts)) {
    const message = "qcow2: other than 16 refcount-bits, and lazy-refcounts, need version 'v3'";
    throw new BlockError('EINVAL', message);
  }
  const preallocation = reader.choice('preallocation', ['off', 'metadata', 'falloc', 'full']);
  const options: Qcow2CreateOptions = {
    version,
    clusterSize,
    refcountOrder: Math.log2(bits),
    lazyRefcounts,
    backingFile: reader.string('backing-file'),
    backingFormat: reader.string('backing-fmt'),
    preallocation: preallocation === 'metadata' ? 'metadata' : 'off',
  };
  if (preallocation === 'falloc' || preallocation === 'full') {
    throw unsupported(`preallocation=${preallocation}`);
  }
  if (reader.boolean('extended-l2') === true) throw unsupported('extended-l2');
  if (reader.boolean('data-file-raw') === true || reader.string('data-file') !== undefined) {
    throw unsupported('data-file');
  }
  if (reader.boolean('encryption') === true || reader.any('encrypt') !== undefined) {
    throw unsupported('encryption');
  }
  if ((reader.choice('compression-type', ['zlib', 'zstd']) ?? 'zlib') !== 'zlib') {
    throw unsupported('compression-type=zstd');
  }
  reader.end();
  return options;
}

/** Writes an image of `size` bytes into `file`, which is empty. Throws BlockError. */
export async function createImage(
  file: BlockChild,
  size: number,
  options: Qcow2CreateOptions,
): Promise<void> {
  const layout = planFor(size, options);
  const { clusterSize } = options;
  const header = buildHeader({
    version: options.version,
    clusterBits: Math.log2(clusterSize),
    size,
    l1Size: layout.l1Size,
    l1TableOffset: layout.l1 * clusterSize,
    refcountTableOffset: layout.refcountTable * clusterSize,
    refcountTableClusters: layout.refcountBlocks - layout.refcountTable,
    refcountOrder: options.refcountOrder,
    lazyRefcounts: options.lazyRefcounts,
    backingFile: options.backingFile,
    backingFormat: options.backingFormat,
  });
  await must(file.truncate(0));
  await must(file.truncate(layout.end * clusterSize));
  await writeRefcounts(file, layout, options);
  await writeTables(file, layout, size, clusterSize);
  // The header comes last: what was cut off before is no image.
  await must(file.flush());
  await must(file.pwritev(0, IOVector.of(header)));
  await must(file.flush());
}

/**
 * Makes the image that opening an empty `file` asks for, durably: an overlay, or a disk without a base.
 * `bytes` is its length, undefined where nobody said. Throws BlockError.
 */
export async function createOverlay(
  file: BlockChild,
  bytes: number | undefined,
  node: string,
): Promise<void> {
  if (bytes === undefined) {
    const message = `${node}: the file is empty; a new image needs 'size' or 'backing'`;
    throw new BlockError('EINVAL', message, { node });
  }
  await createImage(file, Math.ceil(bytes / 512) * 512, parseCreateOptions({}));
}

function planFor(size: number, options: Qcow2CreateOptions): Layout {
  const { clusterSize, refcountOrder } = options;
  const preallocated = options.preallocation === 'metadata';
  const l2Tables = preallocated ? l1SizeFor(size, clusterSize) : 0;
  const dataClusters = preallocated ? Math.ceil(size / clusterSize) : 0;
  return planLayout({ size, clusterSize, refcountOrder, l2Tables, dataClusters });
}

async function writeRefcounts(
  file: BlockChild,
  layout: Layout,
  options: Qcow2CreateOptions,
): Promise<void> {
  const { clusterSize } = options;
  for (let index = 0; index < layout.l1 - layout.refcountBlocks; index++) {
    const host = (layout.refcountBlocks + index) * clusterSize;
    await must(file.pwritev(host, IOVector.of(refcountBlockOf(layout, index, options))));
  }
  const table = refcountTableOf(layout, clusterSize);
  await must(file.pwritev(layout.refcountTable * clusterSize, IOVector.of(table)));
}

async function writeTables(
  file: BlockChild,
  layout: Layout,
  size: number,
  clusterSize: number,
): Promise<void> {
  if (layout.l2 === layout.end) return; // The file reads as zeroes there, which is right.
  const copied = (cluster: number): bigint =>
    (BigInt(OFLAG_COPIED_HI) << 32n) | BigInt(cluster * clusterSize);
  const l1 = new Uint8Array(layout.l1Size * 8);
  const l1View = new DataView(l1.buffer);
  const l2 = new Uint8Array(clusterSize);
  const l2View = new DataView(l2.buffer);
  const perTable = clusterSize / 8;
  const clusters = Math.ceil(size / clusterSize);
  for (let index = 0; index < layout.l1Size; index++) {
    const host = layout.l2 + index;
    l1View.setBigUint64(index * 8, copied(host));
    for (let i = 0; i < perTable; i++) {
      const cluster = index * perTable + i;
      l2View.setBigUint64(i * 8, cluster < clusters ? copied(layout.data + cluster) : 0n);
    }
    await must(file.pwritev(host * clusterSize, IOVector.of(l2)));
  }
  await must(file.pwritev(layout.l1 * clusterSize, IOVector.of(l1)));
}

/** qemu-img writes `cluster_size`, blockdev-create `cluster-size`. */
function dashed(raw: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(raw)) {
    const name = key.replaceAll('_', '-');
    if (name in out && out[name] !== value) {
      throw new BlockError('EINVAL', `qcow2: option '${key}' is given twice`);
    }
    out[name] = value;
  }
  return out;
}

function unsupported(what: string): BlockError {
  return new BlockError('ENOTSUP', `qcow2: creating an image with ${what} is not supported`);
}

async function must(ret: Ret | Promise<Ret>): Promise<void> {
  const done = await ret;
  if (done < 0) throw BlockError.fromRet(done, 'qcow2: cannot write the new image');
}
