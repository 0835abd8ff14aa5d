// The first half of `check`: walks all metadata as they are on disk and counts, for every cluster of
// the file, the references to it and the refcount it has. Trusts nothing; every walk is bounded by
// the length of the file.

import { IOVector } from '../../../base/io-vector.ts';
import { BlockError } from '../../block-error.ts';
import type { Pace } from '../../pace.ts';
import type { Qcow2Image } from './image.ts';
import { getRefcount } from './refcount-bits.ts';
import {
  L1_RESERVED_HI, L1_RESERVED_LO, L2_RESERVED_HI, L2_RESERVED_LO, OFFSET_MASK_HI, OFFSET_MASK_LO,
  OFLAG_COMPRESSED_HI, OFLAG_COPIED_HI, OFLAG_ZERO_LO, REFTABLE_RESERVED_LO, TWO_32,
} from './spec.ts'; // prettier-ignore

/** Four bytes of memory a cluster. */
const MAX_CLUSTERS = 2 ** 26;
const MAX_MESSAGES = 100;
/** Counts stop here. */
const MANY = 0xffff;

export class References {
  /** Clusters in the file. */
  readonly clusters: number;
  /** By cluster: how often metadata refer to it, and the refcount it has. At most 65535. */
  readonly expected: Uint16Array<ArrayBuffer>;
  readonly actual: Uint16Array<ArrayBuffer>;
  readonly messages: string[] = [];
  /** Bad entries that are no matter of refcounts. */
  corruptions = 0;
  /** Tables that could not be read. */
  checkErrors = 0;
  allocatedClusters = 0;
  /** The refcount table itself is bad: only new refcount structures help. */
  needsRebuild = false;
  /** L2 tables found, by index in the L1 table. */
  readonly tables: Map<number, number> = new Map<number, number>();
  readonly #image: Qcow2Image;

  constructor(image: Qcow2Image) {
    this.#image = image;
    this.clusters = Math.ceil(image.file.length / image.clusterSize);
    if (this.clusters > MAX_CLUSTERS) {
      const message = `${image.node}: the file has ${this.clusters} clusters, check takes ${MAX_CLUSTERS}`;
      throw new BlockError('ENOTSUP', message, { node: image.node });
    }
    this.expected = new Uint16Array(this.clusters);
    this.actual = new Uint16Array(this.clusters);
  }

  say(message: string): void {
    if (this.messages.length < MAX_MESSAGES) this.messages.push(message);
  }

  /** Counts a bad entry. */
  bad(message: string): void {
    this.corruptions += 1;
    this.say(`ERROR: ${message}`);
  }

  /** Counts a reference to each cluster of `[host, host + bytes)`. */
  refer(host: number, bytes: number, what: string): boolean {
    const { clusterSize } = this.#image;
    const last = Math.floor((host + bytes - 1) / clusterSize);
    if (last >= this.clusters) {
      this.bad(`${what} at ${host} lies outside of the file`);
      return false;
    }
    for (let cluster = Math.floor(host / clusterSize); cluster <= last; cluster++) {
      if (this.expected[cluster]! < MANY) this.expected[cluster]! += 1;
    }
    return true;
  }
}

/** Counts everything. `skipRefcounts`: as if there were no refcount structures (for a rebuild). */
export async function collectReferences(
  image: Qcow2Image,
  pace?: Pace,
  skipRefcounts = false,
): Promise<References> {
  const found = new References(image);
  found.refer(0, image.clusterSize, 'header');
  const { l1, refcounts } = image;
  if (l1.bytes.length > 0) found.refer(l1.offset, l1.bytes.length, 'L1 table');
  if (!skipRefcounts) {
    found.refer(refcounts.tableOffset, refcounts.table.length, 'refcount table');
    await readRefcounts(image, found, pace);
  }
  await walkL1(image, found, pace);
  return found;
}

async function readRefcounts(
  image: Qcow2Image,
  found: References,
  pace: Pace | undefined,
): Promise<void> {
  const { refcounts, clusterSize } = image;
  const view = new DataView(refcounts.table.buffer);
  const block = new Uint8Array(clusterSize);
  const blockView = new DataView(block.buffer);
  const qiov = IOVector.of(block);
  for (let index = 0; index < refcounts.tableSize; index++) {
    const lo = view.getUint32(index * 8 + 4);
    const host = view.getUint32(index * 8) * TWO_32 + lo;
    if (host === 0) continue;
    if ((lo & REFTABLE_RESERVED_LO) !== 0 || host % clusterSize !== 0) {
      found.bad(`refcount block ${index} is not cluster aligned: ${host}`);
      found.needsRebuild = true;
      continue;
    }
    if (!found.refer(host, clusterSize, `refcount block ${index}`)) {
      found.needsRebuild = true;
      continue;
    }
    if (found.expected[host / clusterSize]! > 1) {
      found.bad(`refcount block ${index} at ${host} is used twice`);
      found.needsRebuild = true;
    }
    const base = index * refcounts.perBlock;
    if (base >= found.clusters) continue;
    await pace?.breathe();
    if ((await image.readFile(host, qiov)) < 0) {
      found.checkErrors += 1;
      found.say(`ERROR: refcount block ${index} at ${host} cannot be read`);
      continue;
    }
    const count = Math.min(refcounts.perBlock, found.clusters - base);
    for (let i = 0; i < count; i++) {
      found.actual[base + i] = Math.min(getRefcount(blockView, refcounts.order, i), MANY);
    }
  }
}

async function walkL1(image: Qcow2Image, found: References, pace: Pace | undefined): Promise<void> {
  const { l1, clusterSize } = image;
  const view = new DataView(l1.bytes.buffer);
  const walked = new Set<number>();
  const table = new Uint8Array(clusterSize);
  for (let index = 0; index < l1.size; index++) {
    const hi = view.getUint32(index * 8);
    const lo = view.getUint32(index * 8 + 4);
    const host = (hi & OFFSET_MASK_HI) * TWO_32 + ((lo & OFFSET_MASK_LO) >>> 0);
    if ((hi & L1_RESERVED_HI) !== 0 || (lo & L1_RESERVED_LO) !== 0) {
      found.bad(`L1 entry ${index} has reserved bits set`);
    }
    if (host === 0) continue;
    if (host % clusterSize !== 0) {
      found.bad(`L2 table ${index} is not cluster aligned: ${host}`);
      continue;
    }
    if (!found.refer(host, clusterSize, `L2 table ${index}`)) continue;
    checkCopied(image, found, hi, host, `L2 cluster: l1_index ${index}`);
    // One that is used twice is counted twice, which shows; no need to walk it again.
    if (walked.has(host)) continue;
    walked.add(host);
    found.tables.set(index, host);
    await pace?.breathe();
    if ((await image.readFile(host, IOVector.of(table))) < 0) {
      found.checkErrors += 1;
      found.say(`ERROR: L2 table ${index} at ${host} cannot be read`);
      continue;
    }
    walkL2(image, found, new DataView(table.buffer));
  }
}

function walkL2(image: Qcow2Image, found: References, view: DataView): void {
  const { clusterSize } = image;
  for (let at = 0; at < clusterSize; at += 8) {
    const hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    if (hi === 0 && lo === 0) continue;
    if ((hi & OFLAG_COMPRESSED_HI) !== 0) {
      referCompressed(image, found, hi, lo);
      continue;
    }
    const host = (hi & OFFSET_MASK_HI) * TWO_32 + ((lo & OFFSET_MASK_LO) >>> 0);
    const zero = (lo & OFLAG_ZERO_LO) !== 0;
    if ((hi & L2_RESERVED_HI) !== 0 || (lo & L2_RESERVED_LO) !== 0 || (zero && image.version < 3)) {
      found.bad(`L2 entry 0x${entryText(hi, lo)} has reserved bits set`);
    }
    if (host === 0) continue;
    if (host % clusterSize !== 0) {
      found.bad(`data cluster offset ${host} is not cluster aligned`);
      continue;
    }
    if (!found.refer(host, clusterSize, 'data cluster')) continue;
    if (!zero) found.allocatedClusters += 1;
    checkCopied(image, found, hi, host, `data cluster: l2_entry=${entryText(hi, lo)}`);
  }
}

/** A compressed cluster lies in sectors of any cluster, and shares those with others. */
function referCompressed(image: Qcow2Image, found: References, hi: number, lo: number): void {
  const entry = (BigInt(hi & ~(OFLAG_COPIED_HI | OFLAG_COMPRESSED_HI)) << 32n) | BigInt(lo);
  const bits = BigInt(62 - (image.clusterBits - 8));
  const host = Number(entry & ((1n << bits) - 1n));
  const sectors = Number(entry >> bits) + 1;
  const start = host - (host % 512);
  found.allocatedClusters += 1;
  found.refer(start, sectors * 512, 'compressed cluster');
  if ((hi & OFLAG_COPIED_HI) !== 0) found.bad(`compressed cluster at ${host} with the COPIED flag`);
}

function checkCopied(
  image: Qcow2Image,
  found: References,
  hi: number,
  host: number,
  what: string,
): void {
  const refcount = found.actual[host / image.clusterSize]!;
  if (((hi & OFLAG_COPIED_HI) !== 0) === (refcount === 1)) return;
  found.corruptions += 1;
  found.say(`ERROR OFLAG_COPIED ${what} refcount=${refcount}`);
}

function entryText(hi: number, lo: number): string {
  return ((BigInt(hi) << 32n) | BigInt(lo)).toString(16);
}
