// `qemu-img check`: compares refcounts with references, and repairs. Leaks are freed; refcounts that
// are too low are raised in place or, where the refcount structures themselves are bad, all of them
// are built anew at the end of the file.

import { IOVector } from '../../../base/io-vector.ts';
import type { Ret } from '../../../base/ret.ts';
import { BlockError } from '../../block-error.ts';
import type { CheckResult } from '../../block-driver.ts';
import type { Pace } from '../../pace.ts';
import { collectReferences } from './collect-references.ts';
import type { References } from './collect-references.ts';
import type { Qcow2Image } from './image.ts';
import { rebuildRefcounts } from './rebuild-refcounts.ts';
import {
  AUTOCLEAR_BITMAPS, INCOMPAT_CORRUPT, INCOMPAT_DIRTY, OFFSET_MASK_HI, OFFSET_MASK_LO,
  OFLAG_COMPRESSED_HI, OFLAG_COPIED_HI, TWO_32,
} from './spec.ts'; // prettier-ignore

/**
 * Checks, repairs as far as `fix` says, and checks again what was repaired. Node drained. Each step of
 * a repair leaves an image that is none the worse, so `pace` may end it between any two.
 */
export async function check(
  image: Qcow2Image,
  fix: 'none' | 'leaks' | 'all',
  pace?: Pace,
): Promise<CheckResult> {
  refuseUnsupported(image);
  refuseUnwritten(image);
  if (!image.readOnly && !image.corrupt) {
    await must(image, image.writeBack(true));
    await must(image, image.file.flush());
  }
  const before = compare(await collectReferences(image, pace));
  if (fix === 'none' || image.readOnly || before.found.checkErrors > 0)
    return result(image, before);
  if (fix === 'all') await repairLow(image, before.found, pace);
  await repairLeaks(image, await collectReferences(image, pace), pace);
  if (fix === 'all') await repairCopied(image, pace);
  await flushTables(image);
  const after = compare(await collectReferences(image, pace));
  if (fix === 'all' && after.corruptions === 0 && after.found.checkErrors === 0) {
    await must(image, image.changeFeatures(0n, featuresToClear(image)));
    await must(image, image.file.flush());
    image.corrupt = false;
  }
  return result(image, after, before);
}

/** Mends an image that was not closed cleanly, while it is being opened. Throws BlockError. */
export async function repairDirty(image: Qcow2Image): Promise<void> {
  const { node } = image;
  const found = await check(image, 'all');
  const fixed = found.corruptionsFixed + found.leaksFixed;
  image.notice(`${node}: qcow2: was not closed cleanly; ${fixed} refcounts repaired`);
  if (found.corruptions === 0 && found.checkErrors === 0) return;
  const message = `${node}: was not closed cleanly, and ${found.corruptions} errors could not be repaired`;
  throw new BlockError('EIO', message, { node });
}

interface Compared {
  readonly found: References;
  readonly corruptions: number;
  readonly leaks: number;
  /** Clusters up to the last one in use. */
  readonly end: number;
}

function compare(found: References): Compared {
  let { corruptions } = found;
  let leaks = 0;
  let end = 0;
  for (let cluster = 0; cluster < found.clusters; cluster++) {
    const actual = found.actual[cluster]!;
    const expected = found.expected[cluster]!;
    if (actual > 0 || expected > 0) end = cluster + 1;
    if (actual === expected) continue;
    const counts = `cluster ${cluster} refcount=${actual} reference=${expected}`;
    if (actual < expected) {
      corruptions += 1;
      found.say(`ERROR ${counts}`);
    } else {
      leaks += 1;
      found.say(`Leaked ${counts}`);
    }
  }
  return { found, corruptions, leaks, end };
}

function result(image: Qcow2Image, now: Compared, before: Compared = now): CheckResult {
  return {
    corruptions: now.corruptions,
    leaks: now.leaks,
    corruptionsFixed: Math.max(before.corruptions - now.corruptions, 0),
    leaksFixed: Math.max(before.leaks - now.leaks, 0),
    checkErrors: now.found.checkErrors,
    imageEndOffset: now.end * image.clusterSize,
    allocatedClusters: now.found.allocatedClusters,
    totalClusters: Math.ceil(image.length / image.clusterSize),
    messages: before.found.messages,
  };
}

/** Structures we do not walk would look like leaks, and be freed. */
function refuseUnsupported(image: Qcow2Image): void {
  const { header, node } = image;
  const refuse = (what: string): BlockError =>
    new BlockError('ENOTSUP', `${node}: check of an image with ${what} is not supported`, { node });
  if (header.nbSnapshots > 0) throw refuse('internal snapshots');
  if (image.readOnly && (header.autoclearFeatures & AUTOCLEAR_BITMAPS) !== 0n) {
    throw refuse('persistent bitmaps');
  }
}

/** What is in memory would be compared with what is on disk, which it never got to, or not for certain. */
function refuseUnwritten({ node, corrupt, frozen, l1, map, refcounts }: Qcow2Image): void {
  const dirty = l1.dirty || map.cache.dirtyCount > 0 || refcounts.cache.dirtyCount > 0;
  if (!frozen && !(corrupt && dirty)) return;
  const message =
    `${node}: takes no more changes, and what is on disk may differ from what it has in memory: ` +
    'close it, open it again, and check it then';
  throw new BlockError('EIO', message, { node });
}

async function repairLow(image: Qcow2Image, found: References, pace?: Pace): Promise<void> {
  let rebuild = found.needsRebuild;
  for (let cluster = 0; cluster < found.clusters && !rebuild; cluster++) {
    const missing = found.expected[cluster]! - found.actual[cluster]!;
    if (missing <= 0) continue;
    await pace?.breathe();
    const at = cluster * image.clusterSize;
    // No block counts this cluster, or the width is too small.
    const ret = await image.faults.retry(() => image.refcounts.adjust(at, missing));
    if (ret < 0) rebuild = true;
  }
  if (rebuild) await rebuildRefcounts(image);
  await flushTables(image);
}

async function repairLeaks(image: Qcow2Image, found: References, pace?: Pace): Promise<void> {
  for (let cluster = 0; cluster < found.clusters; cluster++) {
    const extra = found.actual[cluster]! - found.expected[cluster]!;
    if (extra <= 0) continue;
    await pace?.breathe();
    const at = cluster * image.clusterSize;
    await image.faults.retry(() => image.refcounts.adjust(at, -extra));
  }
  await flushTables(image);
}

/** Sets COPIED flags where the refcount is one, and only there. */
async function repairCopied(image: Qcow2Image, pace?: Pace): Promise<void> {
  const found = await collectReferences(image, pace);
  const bytes = new Uint8Array(image.clusterSize);
  const one = (host: number): boolean => found.actual[host / image.clusterSize] === 1;
  image.map.cache.drop();
  for (const [index, host] of found.tables) {
    await pace?.breathe();
    if (image.l1.isCopied(index) !== one(host)) image.l1.setCopied(index, one(host));
    await must(image, image.readFile(host, IOVector.of(bytes)));
    if (fixTable(image, new DataView(bytes.buffer), one)) {
      await must(image, image.file.pwritev(host, IOVector.of(bytes)));
    }
  }
  await must(image, image.l1.write());
}

function fixTable(image: Qcow2Image, view: DataView, one: (host: number) => boolean): boolean {
  let changed = false;
  for (let at = 0; at < image.clusterSize; at += 8) {
    const hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    const host = (hi & OFFSET_MASK_HI) * TWO_32 + ((lo & OFFSET_MASK_LO) >>> 0);
    const copied = (hi & OFLAG_COPIED_HI) !== 0;
    const compressed = (hi & OFLAG_COMPRESSED_HI) !== 0;
    if (!compressed && (host === 0 || host % image.clusterSize !== 0)) continue;
    if (copied === (!compressed && one(host))) continue;
    view.setUint32(at, copied ? hi & ~OFLAG_COPIED_HI : hi | OFLAG_COPIED_HI);
    changed = true;
  }
  return changed;
}

async function flushTables(image: Qcow2Image): Promise<void> {
  await must(image, image.refcounts.cache.writeDirty());
  await must(image, image.file.flush());
  image.refcounts.rescan();
}

function featuresToClear(image: Qcow2Image): bigint {
  return image.incompatibleFeatures & (INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
}

async function must(image: Qcow2Image, ret: Ret | Promise<Ret>): Promise<void> {
  const done = await ret;
  if (done < 0) throw BlockError.fromRet(done, `${image.node}: check`, image.node);
}
