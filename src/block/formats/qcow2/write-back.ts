// The order in which metadata reach the file. Whatever points at something is written after it and
// after a flush: refcounts and data, flush, L2 and L1, flush, and only then do refcounts of freed
// clusters go down. A power cut between any two writes leaves leaked clusters at most.

import { EIO, OK, andThen } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import type { Qcow2Image } from './image.ts';

/** Freed space that may wait for the next flush that has to happen anyway, bytes and runs. */
const MAX_FREED_BYTES = 64 * 1024 * 1024;
const MAX_FREED_RUNS = 512;

/**
 * Writes all dirty tables; exclusive. The caller flushes the file afterwards. `final`: the node is
 * drained and about to close or to be checked, so freed clusters are let go of as well.
 */
export function writeBack(image: Qcow2Image, final: boolean): MaybeRet {
  const { map, l1, refcounts, freed } = image;
  if (image.corrupt) return -EIO;
  const tables = map.cache.dirtyCount > 0 || l1.dirty;
  if (!tables && refcounts.cache.dirtyCount === 0 && freed.runs === 0) return OK;
  const fresh = (key: number): boolean => l1.isFresh(Math.floor(key / map.slicesPerTable));
  let ret: MaybeRet = OK;
  if (!image.lazyRefcounts || final) ret = refcounts.cache.writeDirty();
  if (tables) {
    // Nothing on disk leads to a table whose L1 entry is fresh, so it needs no flush before it.
    ret = andThen(ret, () => map.cache.writeDirty(fresh));
    ret = andThen(ret, () => syncFile(image, final));
    ret = andThen(ret, () => map.cache.writeDirty());
    ret = andThen(ret, () => l1.write());
  }
  return andThen(ret, () => {
    freed.tablesWritten();
    const many = freed.bytes > MAX_FREED_BYTES || freed.runs > MAX_FREED_RUNS;
    if (freed.runs === 0 || !(final || many)) return OK;
    return andThen(syncFile(image, final), () => (final ? refcounts.cache.writeDirty() : OK));
  });
}

/** Flushes the file, after which some freed clusters may be used again. */
function syncFile(image: Qcow2Image, drained: boolean): MaybeRet {
  return andThen(image.file.flush(), () => {
    const runs = image.freed.takeDurable(drained);
    return runs.length === 0 ? OK : release(image, runs);
  });
}

async function release(
  image: Qcow2Image,
  runs: readonly { readonly host: number; readonly bytes: number }[],
): Promise<Ret> {
  for (const run of runs) {
    for (let done = 0; done < run.bytes; done += image.clusterSize) {
      const at = run.host + done;
      // A cluster whose refcount cannot be lowered is leaked; the image is none the worse.
      await image.faults.retry(() => image.refcounts.adjust(at, -1));
    }
  }
  return OK;
}
