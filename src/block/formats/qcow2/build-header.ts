// The header of a new image: fields, the backing file's name and format, and the names of the
// features, for programs that do not know them.

import { BlockError } from '../../block-error.ts';
import { roundUp8, viewOf } from './header.ts';
import {
  COMPAT_LAZY_REFCOUNTS, EXT_BACKING_FORMAT, EXT_FEATURE_TABLE, FEATURE_NAME_BYTES,
  HEADER_V2_BYTES, HEADER_WRITTEN_BYTES, MAX_BACKING_NAME, QCOW2_MAGIC,
} from './spec.ts'; // prettier-ignore

const FEATURES: readonly (readonly [type: number, bit: number, name: string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];

/** What `buildHeader` needs to know. */
export interface NewHeader {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly size: number;
  readonly l1Size: number;
  readonly l1TableOffset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly refcountOrder: number;
  readonly lazyRefcounts: boolean;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
}

/** The first cluster of a new image. Throws BlockError when the names do not fit into it. */
export function buildHeader(header: NewHeader): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(2 ** header.clusterBits);
  const view = viewOf(bytes);
  view.setUint32(0, QCOW2_MAGIC);
  view.setUint32(4, header.version);
  view.setUint32(20, header.clusterBits);
  view.setBigUint64(24, BigInt(header.size));
  view.setUint32(36, header.l1Size);
  view.setBigUint64(40, BigInt(header.l1TableOffset));
  view.setBigUint64(48, BigInt(header.refcountTableOffset));
  view.setUint32(56, header.refcountTableClusters);
  let at = HEADER_V2_BYTES;
  if (header.version === 3) {
    at = HEADER_WRITTEN_BYTES;
    if (header.lazyRefcounts) view.setBigUint64(80, COMPAT_LAZY_REFCOUNTS);
    view.setUint32(96, header.refcountOrder);
    view.setUint32(100, HEADER_WRITTEN_BYTES);
  }
  const name = new TextEncoder().encode(header.backingFile ?? '');
  const format = new TextEncoder().encode(header.backingFormat ?? '');
  if (name.length > MAX_BACKING_NAME) {
    const limit = `the limit is ${MAX_BACKING_NAME}`;
    throw new BlockError('EINVAL', `backing file name of ${name.length} bytes; ${limit}`);
  }
  const formatBytes = format.length === 0 ? 0 : 8 + roundUp8(format.length);
  if (at + formatBytes + 8 + name.length > bytes.length) {
    throw new BlockError('ENOSPC', `the backing file's name does not fit into the first cluster`);
  }
  if (format.length > 0) at = putExtension(bytes, at, EXT_BACKING_FORMAT, format);
  const names = featureTable();
  const room = bytes.length - at - 8 - name.length;
  if (header.version === 3 && 8 + names.length <= room) {
    at = putExtension(bytes, at, EXT_FEATURE_TABLE, names);
  }
  at += 8; // EXT_END, all zeroes
  if (name.length > 0) {
    view.setBigUint64(8, BigInt(at));
    view.setUint32(16, name.length);
    bytes.set(name, at);
  }
  return bytes;
}

function featureTable(): Uint8Array {
  const table = new Uint8Array(FEATURES.length * FEATURE_NAME_BYTES);
  FEATURES.forEach(([type, bit, name], i) => {
    table.set([type, bit], i * FEATURE_NAME_BYTES);
    table.set(new TextEncoder().encode(name), i * FEATURE_NAME_BYTES + 2);
  });
  return table;
}

function putExtension(bytes: Uint8Array, at: number, magic: number, data: Uint8Array): number {
  const view = viewOf(bytes);
  view.setUint32(at, magic);
  view.setUint32(at + 4, data.length);
  bytes.set(data, at + 8);
  return at + 8 + roundUp8(data.length);
}
