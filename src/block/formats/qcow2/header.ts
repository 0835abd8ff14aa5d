// The qcow2 header and its extensions: parsed with every number checked against the format's limits.
// An open image changes single fields in place, so extensions that we do not know survive untouched.

import { BlockError } from '../../block-error.ts';
import {
  EXT_BACKING_FORMAT, EXT_END, EXT_FEATURE_TABLE, EXT_GENERATION, EXTENSION_HEAD_BYTES,
  GENERATION_BYTES, HEADER_V2_BYTES, HEADER_V3_BYTES, INCOMPAT_COMPRESSION, INCOMPAT_CORRUPT,
  INCOMPAT_DIRTY, MAX_BACKING_NAME, MAX_CLUSTER_BITS,
  MAX_L1_BYTES, MAX_REFCOUNT_ORDER, MAX_REFCOUNT_TABLE_BYTES, MIN_CLUSTER_BITS, QCOW2_MAGIC,
  SECTOR_BYTES,
} from './spec.ts'; // prettier-ignore

/** A header whose numbers were checked against the format's limits (not yet against the file). */
export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  /** Of the guest's disk, bytes; a multiple of 512. */
  readonly size: number;
  /** Entries. */
  readonly l1Size: number;
  readonly l1TableOffset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly refcountOrder: number;
  readonly nbSnapshots: number;
  readonly cryptMethod: number;
  readonly incompatibleFeatures: bigint;
  readonly compatibleFeatures: bigint;
  readonly autoclearFeatures: bigint;
  readonly compressionType: number;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  /** The feature name table: entries of FEATURE_NAME_BYTES. */
  readonly featureNames: Uint8Array;
  /** Magic numbers of all extensions found. */
  readonly extensions: readonly number[];
  /** Offset of the mark that ends them; 0 where there is none. */
  readonly extensionsEnd: number;
  /** Our own extension, and where its bytes lie in the file; see generation.ts. */
  readonly generation: StoredGeneration | undefined;
}

export interface StoredGeneration {
  readonly offset: number;
  /** GENERATION_BYTES of them. */
  readonly bytes: Uint8Array;
}

/** Answers `cluster_bits` of an image whose first bytes are `head`; throws BlockError. */
export function parseClusterBits(head: Uint8Array, node: string): number {
  const view = viewOf(head);
  if (head.length < HEADER_V2_BYTES || view.getUint32(0) !== QCOW2_MAGIC) {
    throw new BlockError('EINVAL', `${node}: not a qcow2 image`, { node });
  }
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) {
    throw new BlockError('ENOTSUP', `${node}: qcow2 version ${version} (2 and 3 are supported)`, {
      node,
    });
  }
  const bits = view.getUint32(20);
  if (bits < MIN_CLUSTER_BITS || bits > MAX_CLUSTER_BITS) {
    const limit = `${MIN_CLUSTER_BITS} to ${MAX_CLUSTER_BITS}`;
    throw new BlockError('EINVAL', `${node}: cluster_bits is ${bits}, must be ${limit}`, { node });
  }
  return bits;
}

/**
 * Parses the header in `bytes`, the first cluster of the file or as much of it as there is. Throws
 * BlockError: EINVAL for what breaks the format, ENOTSUP for what we do not support.
 */
export function parseHeader(bytes: Uint8Array, node: string): Qcow2Header {
  const bad = (what: string): BlockError => new BlockError('EINVAL', `${node}: ${what}`, { node });
  const clusterBits = parseClusterBits(bytes, node);
  const clusterSize = 2 ** clusterBits;
  const view = viewOf(bytes);
  const version = view.getUint32(4) as 2 | 3;
  let headerLength = HEADER_V2_BYTES;
  if (version === 3) {
    if (bytes.length < HEADER_V3_BYTES) throw bad('the header is cut off');
    headerLength = view.getUint32(100);
    if (headerLength < HEADER_V3_BYTES || headerLength > Math.min(clusterSize, bytes.length)) {
      throw bad(`header_length is ${headerLength}, must be 104 to the cluster size`);
    }
  }
  const features = (at: number): bigint => (version === 3 ? view.getBigUint64(at) : 0n);
  const size = offsetField(view, 24, 'size', bad);
  const l1Size = view.getUint32(36);
  if (l1Size * 8 > MAX_L1_BYTES) {
    throw bad(`the L1 table has ${l1Size} entries, the limit is ${MAX_L1_BYTES / 8}`);
  }
  const refcountTableClusters = view.getUint32(56);
  if (refcountTableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
    const limit = MAX_REFCOUNT_TABLE_BYTES / clusterSize;
    throw bad(`the refcount table has ${refcountTableClusters} clusters, the limit is ${limit}`);
  }
  const l2Bytes = clusterSize * (clusterSize / 8);
  if (l1Size < Math.ceil(size / l2Bytes)) {
    throw bad(`the L1 table has ${l1Size} entries, too few for a disk of ${size} bytes`);
  }
  const refcountOrder = version === 3 ? view.getUint32(96) : 4;
  if (refcountOrder > MAX_REFCOUNT_ORDER) throw bad(`refcount_order is ${refcountOrder}, above 6`);
  const table = (at: number, name: string): number => {
    const offset = offsetField(view, at, name, bad);
    if (offset % clusterSize !== 0) throw bad(`${name} ${offset} is not at a cluster boundary`);
    return offset;
  };
  const l1TableOffset = table(40, 'l1_table_offset');
  const refcountTableOffset = table(48, 'refcount_table_offset');
  if (l1Size > 0 && l1TableOffset === 0) throw bad('the L1 table overlaps the header');
  if (refcountTableClusters === 0) throw bad('there is no refcount table');
  if (refcountTableOffset === 0) throw bad('the refcount table overlaps the header');
  if (
    l1TableOffset < refcountTableOffset + refcountTableClusters * clusterSize &&
    refcountTableOffset < l1TableOffset + l1Size * 8
  ) {
    throw bad('the L1 table overlaps the refcount table');
  }
  const extensions = parseExtensions(bytes, headerLength, endOfExtensions(view, bytes, bad), bad);
  return {
    version,
    clusterBits,
    size: size - (size % SECTOR_BYTES),
    l1Size,
    l1TableOffset,
    refcountTableOffset,
    refcountTableClusters,
    refcountOrder,
    nbSnapshots: view.getUint32(60),
    cryptMethod: view.getUint32(32),
    incompatibleFeatures: features(72),
    compatibleFeatures: features(80),
    autoclearFeatures: features(88),
    compressionType: version === 3 && headerLength > 104 ? view.getUint8(104) : 0,
    backingFile: backingName(view, bytes, bad),
    ...extensions,
  };
}

/** Throws BlockError('ENOTSUP') that names the first incompatible feature we do not have. */
export async function checkFeatures(header: Qcow2Header, node: string): Promise<void> {
  const { incompatibleFeatures: bits, compressionType } = header;
  const known = INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_COMPRESSION;
  const named = compressionType !== 0 ? INCOMPAT_COMPRESSION : 0n;
  const compression = compressionType <= 1 && (bits & INCOMPAT_COMPRESSION) === named;
  if ((bits & ~known) === 0n && header.cryptMethod === 0 && compression) return;
  const { unsupportedFeature } = await import('./unsupported-feature.ts');
  const message = `${node}: qcow2 feature not supported: ${unsupportedFeature(header)}`;
  throw new BlockError('ENOTSUP', message, { node });
}

type Bad = (what: string) => BlockError;

function offsetField(view: DataView, at: number, name: string, bad: Bad): number {
  const value = view.getBigUint64(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw bad(`${name} is ${value}, above 2^53 - 1`);
  return Number(value);
}

/** Extensions end where the backing file's name begins, or with the first cluster. */
function endOfExtensions(view: DataView, bytes: Uint8Array, bad: Bad): number {
  const name = offsetField(view, 8, 'backing_file_offset', bad);
  return name === 0 ? bytes.length : Math.min(name, bytes.length);
}

function backingName(view: DataView, bytes: Uint8Array, bad: Bad): string | undefined {
  const offset = offsetField(view, 8, 'backing_file_offset', bad);
  const length = view.getUint32(16);
  if (offset === 0 || length === 0) return undefined;
  if (length > MAX_BACKING_NAME || offset + length > bytes.length) {
    throw bad(`backing file name of ${length} bytes at ${offset} is not within the first cluster`);
  }
  return new TextDecoder().decode(bytes.subarray(offset, offset + length));
}

type Extensions = Pick<
  Qcow2Header,
  'backingFormat' | 'featureNames' | 'extensions' | 'extensionsEnd' | 'generation'
>;

function parseExtensions(bytes: Uint8Array, from: number, end: number, bad: Bad): Extensions {
  const view = viewOf(bytes);
  let featureNames = new Uint8Array();
  const extensions: number[] = [];
  let backingFormat: string | undefined;
  let generation: StoredGeneration | undefined;
  let extensionsEnd = 0;
  for (let at = from; at + EXTENSION_HEAD_BYTES <= end;) {
    const magic = view.getUint32(at);
    const length = view.getUint32(at + 4);
    if (magic === EXT_END) {
      extensionsEnd = at;
      break;
    }
    const offset = at + EXTENSION_HEAD_BYTES;
    if (length > end - offset) {
      throw bad(`header extension 0x${magic.toString(16)} of ${length} bytes leaves the cluster`);
    }
    const data = bytes.subarray(offset, offset + length);
    extensions.push(magic);
    if (magic === EXT_BACKING_FORMAT) backingFormat = text(data);
    if (magic === EXT_FEATURE_TABLE) featureNames = data.slice();
    if (magic === EXT_GENERATION && length === GENERATION_BYTES)
      generation = { offset, bytes: data };
    at = offset + roundUp8(length);
  }
  return { backingFormat, featureNames, extensions, extensionsEnd, generation };
}

/** Up to a zero byte. */
export function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Up to a multiple of 8. */
export function roundUp8(n: number): number {
  return Math.ceil(n / 8) * 8;
}

/** All of `bytes`. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
