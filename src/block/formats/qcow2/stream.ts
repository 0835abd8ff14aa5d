// A standalone image, version 3, clusters of 64 KiB, written from start to end: where everything goes
// follows from which clusters hold data, so tables are made when their turn comes. Memory: the set of
// clusters (1 KiB for each 512 MiB of the disk with data in them), the refcount table, one cluster.

import type { ClusterSet } from '../../cluster-set.ts';
import type { ImageStreamer, StreamPart, StreamPlan } from '../../image-stream.ts';
import { buildHeader } from './build-header.ts';
import { planLayout, refcountBlockOf, refcountTableOf } from './layout.ts';
import type { Layout } from './layout.ts';
import { OFLAG_COPIED_HI, SECTOR_BYTES, TWO_32 } from './spec.ts';

const CLUSTER_BITS = 16;
const CLUSTER = 2 ** CLUSTER_BITS;
const PER_TABLE = CLUSTER / 8;
/** 16 bits. */
const REFCOUNT_ORDER = 4;

export const qcow2Streamer: ImageStreamer = {
  clusters: { bytes: CLUSTER, perGroup: PER_TABLE },
  plan(size, data): StreamPlan {
    const rounded = Math.ceil(size / SECTOR_BYTES) * SECTOR_BYTES;
    const counts = { clusterSize: CLUSTER, refcountOrder: REFCOUNT_ORDER };
    const holds = { l2Tables: data.groups, dataClusters: data.size };
    const layout = planLayout({ size: rounded, ...counts, ...holds });
    return { length: layout.end * CLUSTER, parts: () => partsOf(rounded, data, layout) };
  },
};

function* partsOf(size: number, data: ClusterSet, layout: Layout): Generator<StreamPart> {
  yield { bytes: headerOf(size, layout) };
  yield { bytes: refcountTableOf(layout, CLUSTER) };
  const counts = { clusterSize: CLUSTER, refcountOrder: REFCOUNT_ORDER };
  for (let block = 0; block < layout.l1 - layout.refcountBlocks; block++) {
    yield { bytes: refcountBlockOf(layout, block, counts) };
  }
  yield* l1Parts(data, layout);
  const groups = data.groupNumbers();
  let next = layout.data;
  for (const group of groups) {
    const table = new Entries();
    const first = group * PER_TABLE;
    for (let i = 0; i < PER_TABLE; i++) if (data.has(first + i)) table.point(i, next++);
    yield { bytes: table.bytes };
  }
  for (const group of groups) yield* dataParts(group * PER_TABLE, data);
}

function headerOf(size: number, layout: Layout): Uint8Array<ArrayBuffer> {
  return buildHeader({
    version: 3,
    clusterBits: CLUSTER_BITS,
    size,
    l1Size: layout.l1Size,
    l1TableOffset: layout.l1 * CLUSTER,
    refcountTableOffset: layout.refcountTable * CLUSTER,
    refcountTableClusters: layout.refcountBlocks - layout.refcountTable,
    refcountOrder: REFCOUNT_ORDER,
    lazyRefcounts: false,
    backingFile: undefined,
    backingFormat: undefined,
  });
}

/** The L1 table, a cluster at a time. */
function* l1Parts(data: ClusterSet, layout: Layout): Generator<StreamPart> {
  let next = layout.l2;
  for (let cluster = layout.l1; cluster < layout.l2; cluster++) {
    const entries = new Entries();
    const first = (cluster - layout.l1) * PER_TABLE;
    for (let i = 0; i < PER_TABLE; i++) if (data.hasGroup(first + i)) entries.point(i, next++);
    yield { bytes: entries.bytes };
  }
}

/** Runs of clusters with data from `first` on, in one group. */
function* dataParts(first: number, data: ClusterSet): Generator<StreamPart> {
  const end = first + PER_TABLE;
  for (let from = first; from < end;) {
    if (!data.has(from)) {
      from += 1;
      continue;
    }
    let to = from + 1;
    while (to < end && data.has(to)) to += 1;
    yield { offset: from * CLUSTER, length: (to - from) * CLUSTER };
    from = to;
  }
}

/** A cluster of an L1 or L2 table. */
class Entries {
  readonly bytes = new Uint8Array(CLUSTER);
  readonly #view = new DataView(this.bytes.buffer);

  /** Points entry `i` at `cluster`, which nobody else points at. */
  point(i: number, cluster: number): void {
    const host = cluster * CLUSTER;
    this.#view.setUint32(i * 8, Math.floor(host / TWO_32) + OFLAG_COPIED_HI);
    this.#view.setUint32(i * 8 + 4, host);
  }
}
