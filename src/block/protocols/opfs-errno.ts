// What the exceptions of a sync access handle in use mean for a guest.

import { ENOSPC, EROFS } from '../../base/ret.ts';

const ERRNOS: Readonly<Record<string, number>> = {
  QuotaExceededError: ENOSPC,
  // Firefox, where `truncate` goes beyond the quota; its `write` takes 0 bytes and says nothing.
  NS_ERROR_FILE_NO_DEVICE_SPACE: ENOSPC,
  // A write through a handle that was opened for reading.
  NoModificationAllowedError: EROFS,
};

/** The errno, positive; undefined for those that are EIO. */
export function errnoOfOpfs(error: unknown): number | undefined {
  return ERRNOS[nameOf(error)];
}

/** True when the handle was closed under us: site data cleared, or the page thrown out. */
export function isHandleGone(error: unknown): boolean {
  return nameOf(error) === 'InvalidStateError';
}

function nameOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'name' in error ? String(error.name) : '';
}
