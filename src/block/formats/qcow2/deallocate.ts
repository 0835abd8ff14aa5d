// Write-zeroes and discard: whole clusters change their L2 entry, no data move. The rules are
// QEMU's: with version 3 a discarded cluster gets the zero flag, so that the backing file does not
// show through; host clusters are kept unless the caller says that they may go.

import { ENOTSUP, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import {
  COMPRESSED, DATA, DATA_SHARED, UNALLOCATED, ZERO_ALLOCATED, ZERO_PLAIN,
} from './cluster-map.ts'; // prettier-ignore
import type { Qcow2Image } from './image.ts';
import type { TableSlice } from './table-cache.ts';

/** `drop` makes entries as if never written (for shrinking); `discard` and zeroes never do. */
type How = 'zero' | 'zero-unmap' | 'discard' | 'drop';

/** Makes whole clusters read as zeroes. -ENOTSUP: write zeroes out instead. */
export function pwriteZeroes(
  image: Qcow2Image,
  offset: number,
  bytes: number,
  mayUnmap: boolean,
): MaybeRet {
  if (image.version < 3) return -ENOTSUP;
  return changeClusters(image, offset, bytes, mayUnmap ? 'zero-unmap' : 'zero');
}

/** Frees whole clusters. -ENOTSUP where the old contents of a backing file would come back. */
export function pdiscard(image: Qcow2Image, offset: number, bytes: number): MaybeRet {
  if (image.version < 3 && image.backing !== undefined) return -ENOTSUP;
  return changeClusters(image, offset, bytes, 'discard');
}

/** Changes all clusters in `[offset, offset + bytes)`, which ends with one, or with the disk. */
export function changeClusters(
  image: Qcow2Image,
  offset: number,
  bytes: number,
  how: How,
): MaybeRet {
  const end = offset + bytes;
  if (offset % image.clusterSize !== 0) return -ENOTSUP;
  if (end % image.clusterSize !== 0 && end !== image.length) return -ENOTSUP;
  let at = offset;
  return image.faults.retry(() => {
    while (at < end) {
      const done = changeRun(image, at, end - at, how);
      if (done < 0) return done;
      at += done;
    }
    return OK;
  });
}

/** An attempt: changes clusters of one L2 slice. Answers the bytes dealt with. */
function changeRun(image: Qcow2Image, at: number, left: number, how: How): Ret {
  const { map, clusterSize } = image;
  const begun = image.beginChange();
  if (begun < 0) return begun;
  const toSliceEnd = (Math.floor(at / map.span) + 1) * map.span - at;
  const bytes = Math.min(left, toSliceEnd);
  for (const other of image.allocations) {
    if (other.guest < at + bytes && at < other.guest + other.bytes) {
      return image.faults.fault(() => other.ended());
    }
  }
  const table = image.l1.l2Offset(Math.floor(at / map.tableSpan));
  if (table < 0) return table;
  const nothingToDo = how === 'drop' || (how === 'discard' && image.backing === undefined);
  if (table === 0 && nothingToDo) {
    return Math.min(left, (Math.floor(at / map.tableSpan) + 1) * map.tableSpan - at);
  }
  const ready = map.ensureTable(at);
  if (ready < 0) return ready;
  const slice = map.sliceForChange(at);
  if (slice === undefined) return map.code;
  const first = map.entryOf(at);
  const count = Math.ceil(bytes / clusterSize);
  // All or nothing, so that an error leaves the slice as it was.
  for (let i = 0; i < count; i++) {
    const kind = map.kindAt(slice, first + i);
    if (kind < 0) return image.corruption(`bad L2 entry for guest ${at + i * clusterSize}`);
    if (kind === COMPRESSED) {
      image.notice(`${image.node}: freeing compressed clusters is not supported`);
      return -ENOTSUP;
    }
  }
  for (let i = 0; i < count; i++) changeEntry(image, slice, first + i, how);
  return bytes;
}

function changeEntry(image: Qcow2Image, slice: TableSlice, entry: number, how: How): void {
  const { map } = image;
  const kind = map.kindAt(slice, entry);
  const host = map.hostOf(slice, entry);
  const free = (zero: boolean): void => {
    map.setEntry(slice, entry, 0, zero);
    if (host !== 0) image.freed.add(host, image.clusterSize);
  };
  const hasHost = kind === DATA || kind === DATA_SHARED || kind === ZERO_ALLOCATED;
  switch (how) {
    case 'drop':
      if (kind !== UNALLOCATED) free(false);
      return;
    case 'discard':
      if (hasHost) free(image.version >= 3);
      else if (kind === UNALLOCATED && image.backing !== undefined) free(true);
      return;
    case 'zero':
      if (kind === DATA) map.setEntry(slice, entry, host, true);
      else if (kind !== ZERO_PLAIN && kind !== ZERO_ALLOCATED) free(true);
      return;
    case 'zero-unmap':
      if (kind !== ZERO_PLAIN) free(true);
  }
}
