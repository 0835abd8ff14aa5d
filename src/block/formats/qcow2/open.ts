// Opens an image: header, L1 table, refcount table, backing file; then what a writable open owes to
// the file - clearing autoclear bits, and repairing after a crash with lazy refcounts.

import { IOVector } from '../../../base/io-vector.ts';
import type { BlockChild } from '../../block-child.ts';
import type { OpenContext } from '../../block-driver.ts';
import { BlockError } from '../../block-error.ts';
import { checkFeatures, parseClusterBits, parseHeader, viewOf } from './header.ts';
import type { Qcow2Header } from './header.ts';
import { Qcow2Image } from './image.ts';
import type { Qcow2Options } from './options.ts';
import { loadGrowth } from './refcounts.ts';
import { AUTOCLEAR_GENERATION, HEADER_AUTOCLEAR, HEADER_V2_BYTES, INCOMPAT_CORRUPT } from './spec.ts'; // prettier-ignore

const HEAD_BYTES = 512;

/** Throws BlockError. Children that were opened are closed by whoever opened them for us. */
export async function openImage(context: OpenContext, options: Qcow2Options): Promise<Qcow2Image> {
  const node = context.nodeName;
  const file = await context.openChild('file', options.file);
  const readOnly = context.flags.readOnly;
  const fresh = file.length === 0 && !readOnly && asksToCreate(options.file);
  const ready = fresh ? await openBacking(context, options.backing, undefined) : undefined;
  if (fresh) {
    const { createOverlay } = await import('./create.ts');
    await createOverlay(file, options.size ?? ready?.length, node);
  }
  const header = await readHeader(file, node);
  await checkFeatures(header, node);
  checkWritable(header, node, readOnly, options);
  const tableBytes = header.refcountTableClusters * 2 ** header.clusterBits;
  const l1 = await readTable(file, header.l1TableOffset, header.l1Size * 8, 'L1 table', node);
  const refcountTable = await readTable(
    file,
    header.refcountTableOffset,
    tableBytes,
    'refcount table',
    node,
  );
  const backing = ready ?? (await openBacking(context, options.backing, header));
  const image = new Qcow2Image({
    node,
    header,
    file,
    backing,
    readOnly,
    l1,
    refcountTable,
    l2CacheSize: options.l2CacheSize,
    refcountCacheSize: options.refcountCacheSize,
    lazyRefcounts: options.lazyRefcounts,
    random: () => context.aioContext.random(),
    notice: (message) => context.notice(message),
  });
  if (readOnly) return image;
  image.corrupt = (header.incompatibleFeatures & INCOMPAT_CORRUPT) !== 0n;
  await clearAutoclear(image);
  void loadGrowth();
  if (image.dirtyBit && !options.forCheck) {
    const { repairDirty } = await import('./check.ts');
    await repairDirty(image);
  }
  return image;
}

/** Reads and checks the header of the image in `file`. */
export async function readHeader(file: BlockChild, node: string): Promise<Qcow2Header> {
  if (file.length < HEADER_V2_BYTES) {
    throw new BlockError('EINVAL', `${node}: ${file.length} bytes are no qcow2 image`, { node });
  }
  const head = await readTable(file, 0, Math.min(HEAD_BYTES, file.length), 'header', node);
  const clusterSize = 2 ** parseClusterBits(head, node);
  const cluster = await readTable(file, 0, Math.min(clusterSize, file.length), 'header', node);
  return parseHeader(cluster, node);
}

async function readTable(
  file: BlockChild,
  offset: number,
  bytes: number,
  what: string,
  node: string,
): Promise<Uint8Array<ArrayBuffer>> {
  if (offset + bytes > file.length) {
    const message = `${node}: the ${what}, ${bytes} bytes at ${offset}, lies past the end of the file`;
    throw new BlockError('EINVAL', message, { node });
  }
  const table = new Uint8Array(bytes);
  const ret = bytes === 0 ? 0 : await file.preadv(offset, IOVector.of(table));
  if (ret < 0) throw BlockError.fromRet(ret, `${node}: cannot read the ${what}`, node);
  return table;
}

function checkWritable(
  header: Qcow2Header,
  node: string,
  readOnly: boolean,
  options: Qcow2Options,
): void {
  if (readOnly) return;
  if (header.nbSnapshots > 0) {
    const message = `${node}: writing to an image with internal snapshots is not supported (open it read-only)`;
    throw new BlockError('ENOTSUP', message, { node });
  }
  if ((header.incompatibleFeatures & INCOMPAT_CORRUPT) !== 0n && !options.forCheck) {
    const message = `${node}: the image is marked corrupt and cannot be opened for writing (repair it with a check, or open it read-only)`;
    throw new BlockError('EACCES', message, { node });
  }
}

/** `file: { …, create: true }`: a file that was made just now wants an image in it. */
function asksToCreate(file: unknown): boolean {
  if (typeof file !== 'object' || file === null || !('create' in file)) return false;
  return file.create === true || file.create === 'on';
}

async function openBacking(
  context: OpenContext,
  asked: unknown,
  header: Qcow2Header | undefined,
): Promise<BlockChild | undefined> {
  if (asked === null) return undefined;
  if (asked !== undefined) return context.openChild('backing', asked);
  if (header === undefined) return undefined;
  if (header.backingFile === undefined) return undefined;
  return context.openNamedInImage('backing', header.backingFile, header.backingFormat);
}

/** We keep up none of the features that these bits vouch for, but our own. */
async function clearAutoclear(image: Qcow2Image): Promise<void> {
  const kept = image.generation.sealed ? AUTOCLEAR_GENERATION : 0n;
  if (image.header.autoclearFeatures === kept) return;
  const bits = new Uint8Array(8);
  viewOf(bits).setBigUint64(0, kept);
  const ret = await image.writeHeader(HEADER_AUTOCLEAR, bits);
  if (ret < 0) throw BlockError.fromRet(ret, `${image.node}: cannot write the header`, image.node);
}
