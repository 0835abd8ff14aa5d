// What the exceptions of a sync access handle in use mean for a guest.

import { ENOSPC, EROFS } from '../../base/ret.ts';

/** The errno, positive; undefined for those that are EIO. */
export function errnoOfOpfs(error: unknown): number | undefined {
  if (nameOf(error) === 'QuotaExceededError') return ENOSPC;
  // A write through a handle that was opened for reading.
  return nameOf(error) === 'NoModificationAllowedError' ? EROFS : undefined;
}

/** True when the handle was closed under us: site data cleared, or the page thrown out. */
export function isHandleGone(error: unknown): boolean {
  return nameOf(error) === 'InvalidStateError';
}

function nameOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'name' in error ? String(error.name) : '';
}
