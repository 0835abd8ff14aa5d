// Options of an open qcow2 node, checked.

import { OptionReader } from '../../option-reader.ts';

export interface Qcow2Options {
  readonly file: unknown;
  /** Options, a node name or a file name; null for none; undefined for what the header says. */
  readonly backing: unknown;
  /** Of the image to be made where `file` says `create` and is empty; default: the backing's. */
  readonly size: number | undefined;
  /** Bytes of L2 tables to keep in memory. */
  readonly l2CacheSize: number;
  /** Bytes of refcount blocks to keep in memory. */
  readonly refcountCacheSize: number;
  /** Undefined: as the image says. */
  readonly lazyRefcounts: boolean | undefined;
  /** Opened to be checked (BDRV_O_CHECK): an image marked corrupt opens writable, for repairs only. */
  readonly forCheck: boolean;
}

const MIB = 1024 * 1024;
/** Of both caches. */
const DEFAULT_CACHE_SIZE = 8 * MIB;
const MAX_CACHE_SIZE = 1024 * MIB;

/** Throws BlockError('EINVAL') that names the bad or unknown key. */
export function parseOptions(raw: Readonly<Record<string, unknown>>): Qcow2Options {
  const reader = new OptionReader('qcow2', raw);
  const total = reader.size('cache-size', 0, MAX_CACHE_SIZE) ?? DEFAULT_CACHE_SIZE;
  const refcountCacheSize =
    reader.size('refcount-cache-size', 0, MAX_CACHE_SIZE) ?? Math.min(total / 16, MIB / 2);
  const l2CacheSize =
    reader.size('l2-cache-size', 0, MAX_CACHE_SIZE) ?? Math.max(total - refcountCacheSize, 0);
  const options: Qcow2Options = {
    file: reader.any('file'),
    backing: reader.any('backing'),
    size: reader.size('size'),
    l2CacheSize,
    refcountCacheSize,
    lazyRefcounts: reader.boolean('lazy-refcounts'),
    forCheck: reader.boolean('for-check') ?? false,
  };
  reader.end();
  return options;
}
