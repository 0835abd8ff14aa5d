// Which clusters of a disk do not read as zeroes: by what its layers say of them and, where they say
// "data" and have it at hand, by looking. What must be fetched to be looked at counts as data.

import { IOVector } from '../../base/io-vector.ts';
import { isZero } from '../../base/zeroes.ts';
import type { BlockBackend } from '../block-backend.ts';
import type { BlockNode } from '../block-node.ts';
import { BlockError } from '../block-error.ts';
import { blockStatusAbove } from '../chain-status.ts';
import type { ClusterSet } from '../cluster-set.ts';
import { roundUp } from '../shaping.ts';
import type { Job } from './job.ts';

const PIECE_BYTES = 1024 * 1024;

/** Adds to `data` all clusters of `clusterSize` bytes that hold some. Throws BlockError. */
export async function findData(
  source: BlockBackend,
  clusterSize: number,
  data: ClusterSet,
  job: Job,
): Promise<void> {
  const { length } = source;
  const buffer = new Uint8Array(PIECE_BYTES);
  /** Nodes that did not answer at once. */
  const slow = new Set<BlockNode>();
  const node = source.root?.name;
  for (let at = 0; at < length;) {
    await job.pace.breathe();
    const status = await job.wait(blockStatusAbove(source, at, length - at));
    if (typeof status === 'number') {
      throw BlockError.fromRet(status, `block status at ${at} of '${node}'`, node);
    }
    const end = at + status.bytes;
    if (status.zero) {
      at = end;
      continue;
    }
    while (at < end && !slow.has(status.node)) {
      await job.pace.breathe();
      const piece = buffer.subarray(0, Math.min(roundUp(at + 1, PIECE_BYTES), end) - at);
      const read = source.preadv(at, IOVector.of(piece));
      if (typeof read !== 'number') slow.add(status.node);
      const ret = typeof read === 'number' ? read : await job.wait(read);
      if (ret < 0)
        throw BlockError.fromRet(ret, `reading ${piece.length} at ${at} of '${node}'`, node);
      look(piece, at, clusterSize, data);
      at += piece.length;
    }
    if (at < end) data.add(Math.floor(at / clusterSize), Math.ceil(end / clusterSize));
    at = end;
  }
}

/** Adds the clusters of which `piece`, the bytes at `start`, has some that are not zero. */
function look(piece: Uint8Array, start: number, clusterSize: number, data: ClusterSet): void {
  const end = start + piece.length;
  for (let at = start; at < end;) {
    const next = Math.min(roundUp(at + 1, clusterSize), end);
    const cluster = Math.floor(at / clusterSize);
    if (!data.has(cluster) && !isZero(piece, at - start, next - start)) {
      data.add(cluster, cluster + 1);
    }
    at = next;
  }
}
