// What is refused before it becomes a request: bytes outside the disk, writes to one that cannot be
// written, and parts of sectors where only whole ones will do.

import { BlockError } from './block/block-error.ts';
import type { Disk } from './disk.ts';
import { SECTOR_SIZE } from './virtio/spec.ts';

/** Throws BlockError('EINVAL') unless `[offset, offset + bytes)` is inside the disk; `what` is the call. */
export function checkInside(
  { rootNode: node, length }: Pick<Disk, 'rootNode' | 'length'>,
  what: string,
  offset: number,
  bytes: number,
): void {
  if (Number.isSafeInteger(offset) && offset >= 0 && offset + bytes <= length) return;
  const range = `${bytes} bytes at ${offset}`;
  const message = `${what}: ${range} is outside the disk '${node}' of ${length} bytes`;
  throw new BlockError('EINVAL', message, { node });
}

/** Throws BlockError('EROFS') where the disk is read-only. */
export function checkWritable(
  { rootNode: node, readOnly }: Pick<Disk, 'rootNode' | 'readOnly'>,
  what: string,
): void {
  if (readOnly) throw new BlockError('EROFS', `${what}: the disk '${node}' is read-only`, { node });
}

/** Throws BlockError('EINVAL') for parts of sectors. */
export function checkWholeSectors(what: string, offset: number, bytes: number): void {
  if (offset % SECTOR_SIZE === 0 && bytes % SECTOR_SIZE === 0) return;
  throw new BlockError('EINVAL', `${what}: ${bytes} bytes at ${offset} are not whole sectors`);
}
