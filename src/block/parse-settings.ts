// The options that every node takes and few give: `discard`, `detect-zeroes`, `cache`, `force-share`. Loaded for those that do.

import { isOptionTree } from '../base/options.ts';
import type { OptionTree } from '../base/options.ts';
import type { NodeSettings } from './node-settings.ts';
import { OptionReader } from './option-reader.ts';

/** What `options` say, those of `driver`; the rest is the default, and the cache as the parent's. Throws BlockError. */
export function parseSettings(
  driver: string,
  options: OptionTree,
  readOnly: boolean,
): Partial<NodeSettings> {
  const reader = new OptionReader(driver, options);
  const discard = reader.choice('discard', ['ignore', 'unmap']);
  const detectZeroes = reader.choice('detect-zeroes', ['off', 'on', 'unmap']);
  if (detectZeroes === 'unmap' && discard === 'ignore') {
    throw reader.bad('detect-zeroes', "'on' or 'off' where 'discard' is 'ignore'");
  }
  const forceShare = reader.boolean('force-share');
  if (forceShare === true && !readOnly) {
    throw reader.bad('force-share', "off where the node is not 'read-only'");
  }
  const tree = reader.any('cache') ?? {};
  if (!isOptionTree(tree)) {
    throw reader.bad('cache', "an object of 'direct' and 'no-flush' (a mode is for openDisk)");
  }
  const cache = new OptionReader('cache', tree);
  const cacheDirect = cache.boolean('direct');
  const cacheNoFlush = cache.boolean('no-flush');
  cache.end();
  return {
    ...(discard === undefined ? {} : { discard }),
    ...(detectZeroes === undefined ? {} : { detectZeroes }),
    ...(forceShare === undefined ? {} : { forceShare }),
    ...(cacheDirect === undefined ? {} : { cacheDirect }),
    ...(cacheNoFlush === undefined ? {} : { cacheNoFlush }),
  };
}
