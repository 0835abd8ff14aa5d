// Names stored in images: a backing file's, say. One is looked up beside the image that holds it.

import type { OptionTree } from '../base/options.ts';
import { BlockError } from './block-error.ts';
import { normalPath, normalUrl, protocolOf, shown } from './filename.ts';

/** The place a protocol's options name: its URL or path; undefined where it has none. */
export function placeOf(options: OptionTree): string | undefined {
  const { driver, url, path, filename, database } = options;
  if (driver === 'http' && typeof url === 'string') return normalUrl(url);
  if (driver === 'opfs' && typeof path === 'string') return normalPath(path);
  if (driver === 'idb' && typeof database === 'string') return database;
  if (driver === 'file' && typeof filename === 'string') return normalPath(filename);
  return undefined;
}

/**
 * `name`, as stored in the image `base`, as a name of its own: with a protocol or absolute it stays;
 * else it is looked up in the directory of `base`. Throws BlockError('EINVAL').
 */
export function resolveFilename(base: string, name: string): string {
  if (name.startsWith('json:') || protocolOf(name) !== undefined || name.startsWith('/')) {
    return name;
  }
  const relative = name;
  if (base.startsWith('json:')) {
    const message = `cannot tell where '${shown(name)}' is: the image naming it has no directory`;
    throw new BlockError('EINVAL', message);
  }
  if (protocolOf(base)?.startsWith('http') === true) return new URL(relative, base).href;
  const slash = base.lastIndexOf('/');
  const colon = /^(opfs|idb):/.exec(base)?.[0].length ?? 0;
  const directory = slash < colon ? base.slice(0, colon) : base.slice(0, slash + 1);
  return directory.slice(0, colon) + normalPath(directory.slice(colon) + relative);
}
