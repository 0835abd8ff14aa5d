// The cache modes of a disk, as QEMU's `-drive cache=` takes them apart: what its devices do, and what the nodes
// below do that do not say so themselves.

import { BlockError } from './block-error.ts';
import type { NodeSettings } from './node-settings.ts';

/** See `OpenDiskOptions.cache`. */
export type CacheMode = 'writeback' | 'none' | 'writethrough' | 'directsync' | 'unsafe';

export interface CacheSettings extends Pick<NodeSettings, 'cacheDirect' | 'cacheNoFlush'> {
  /** Off: a write is durable before it completes, unless the guest turns the write cache on. */
  readonly enableWriteCache: boolean;
}

const MODES: ReadonlyMap<string, CacheSettings> = new Map(
  (
    [
      ['writeback', true, false, false],
      ['none', true, true, false],
      ['writethrough', false, false, false],
      ['directsync', false, true, false],
      ['unsafe', true, false, true],
    ] as const
  ).map(([mode, enableWriteCache, cacheDirect, cacheNoFlush]) => [
    mode,
    { enableWriteCache, cacheDirect, cacheNoFlush },
  ]),
);

/** Throws BlockError('EINVAL'). */
export function parseCacheMode(mode: string): CacheSettings {
  const settings = MODES.get(mode);
  if (settings !== undefined) return settings;
  const known = [...MODES.keys()].join(', ');
  throw new BlockError('EINVAL', `there is no cache mode '${mode}'; there are: ${known}`);
}
