// `qemu-img convert` in the IOThread: makes a new image and copies a disk into it, backing images
// included. A copy that fails or is aborted leaves no image behind.

import type { OptionTree } from '../../base/options.ts';
import type { BlockBackend } from '../block-backend.ts';
import { BlockError } from '../block-error.ts';
import { createImage, optionsToOpen, removeImage } from '../create.ts';
import type { Graph } from '../graph.ts';
import { treeOf } from '../node-options.ts';
import { openGraph } from '../open.ts';
import { PERM_CONSISTENT_READ, PERM_WRITE } from '../permissions.ts';
import { driverNames } from '../registry.ts';
import { roundUp } from '../shaping.ts';
import { copyDisk } from './copy.ts';
import type { Job } from './job.ts';
import { WriteWatch } from './write-watch.ts';

/** A disk's size is a multiple of this in every format but raw, bytes. */
const SECTOR_BYTES = 512;

/**
 * Copies the disk of node `nodeName` into a new image that `target` describes, as for `createImage` but
 * for the size. Throws BlockError - ESTALE when somebody wrote meanwhile, EBUSY when the target is in
 * use - or the job's `signal.reason`.
 */
export async function convertDisk(
  graph: Graph,
  nodeName: string,
  target: OptionTree,
  job: Job,
): Promise<void> {
  const backing = Object.keys(target).find((key) => /^backing[-_]/.test(key));
  if (backing !== undefined) {
    const message = `convert: the new image stands alone, so '${backing}' has no place`;
    throw new BlockError('EINVAL', message);
  }
  const source = graph.newBackend({ name: `${job.id}:source`, nodeName, readOnly: true });
  try {
    const watch = await WriteWatch.begin(source, job);
    await copyIntoNew(graph, source, target, job, () => watch.end());
  } finally {
    await graph.dropBackend(source);
  }
}

/**
 * Makes the image `target` and copies all of `source` into it. `verify` has the last word: when it
 * throws, the image goes again.
 */
export async function copyIntoNew(
  graph: Graph,
  source: BlockBackend,
  target: OptionTree,
  job: Job,
  verify: () => Promise<void> = async () => {},
): Promise<void> {
  const { length } = source;
  await withNewImage(graph, withSize(target, length), job, async (image) => {
    if (image.length < length) {
      const message = `'size' is ${image.length}, less than the ${length} bytes to be copied`;
      throw new BlockError('EINVAL', message);
    }
    await copyDisk({ source, target: image, length, job });
    await verify();
  });
  job.finished(length);
}

/** `target` with room for `length` bytes, unless it says how large it is to be. */
export function withSize(target: OptionTree, length: number): OptionTree {
  const tree = treeOf(target, false);
  const driver = String(tree['driver']);
  const exact = driver === 'raw' || !driverNames('format').includes(driver);
  return { size: exact ? length : roundUp(length, SECTOR_BYTES), ...tree };
}

/**
 * Makes an image, has `fill` write to it, flushes and closes it. Whatever goes wrong, the image is
 * closed and removed before this rejects.
 */
export async function withNewImage(
  graph: Graph,
  options: OptionTree,
  job: Job,
  fill: (image: BlockBackend) => Promise<void>,
): Promise<void> {
  job.signal?.throwIfAborted();
  const extra = job.signal === undefined ? {} : { signal: job.signal };
  try {
    await createImage(graph, options, extra);
  } catch (error) {
    throw job.signal?.aborted === true ? job.signal.reason : error;
  }
  try {
    const node = await openGraph(graph, optionsToOpen(options));
    try {
      // Nobody else is to write to it before it is whole.
      const permissions = { perm: PERM_WRITE, shared: PERM_CONSISTENT_READ };
      const name = `${job.id}:target`;
      const image = graph.newBackend({ name, nodeName: node.name, permissions });
      try {
        await fill(image);
        const ret = await image.flush();
        if (ret < 0) throw BlockError.fromRet(ret, `flush of the new image '${node.filename}'`);
        job.signal?.throwIfAborted();
      } finally {
        await graph.closeBackend(image);
      }
    } finally {
      await graph.blockdevDel(node.name);
    }
  } catch (error) {
    await removeImage(graph, options).catch(() => {});
    throw error;
  }
}
