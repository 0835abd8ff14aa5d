// What a node does whatever its driver (QEMU's BDRV_O_* and common blockdev options): plain data, so that it
// goes along when a node moves to another thread. `cache` and `detect-zeroes` are QEMU's words.

import { REQ_MAY_UNMAP } from './block-driver.ts';
import type { OpenFlags } from './block-driver.ts';

export interface NodeSettings {
  /** What to do with discards. */
  readonly discard: 'ignore' | 'unmap';
  /** Writes of nothing but zeroes become zero writes, which may deallocate where 'unmap'. */
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  /** `cache.direct`: no memory for data beyond what the driver cannot do without. */
  readonly cacheDirect: boolean;
  /** `cache.no-flush`: storage is never synced on behalf of a flush. */
  readonly cacheNoFlush: boolean;
  /** `force-share`: whoever reads the node puts up with all that others do, and it takes no lock. */
  readonly forceShare: boolean;
}

export const DEFAULT_SETTINGS: NodeSettings = {
  discard: 'unmap',
  detectZeroes: 'off',
  cacheDirect: false,
  cacheNoFlush: false,
  forceShare: false,
};

/** How a driver is to open the image of a node with `settings`. */
export function openFlags(
  readOnly: boolean,
  { cacheDirect, forceShare }: NodeSettings,
): OpenFlags & { readOnly: boolean } {
  return { readOnly, direct: cacheDirect, forceShare };
}

/** The flags of a zero write that stands for a write of zeroes; -1 where they are not looked for. */
export function detectedZeroFlags({ detectZeroes }: NodeSettings): number {
  if (detectZeroes === 'off') return -1;
  return detectZeroes === 'unmap' ? REQ_MAY_UNMAP : 0;
}
