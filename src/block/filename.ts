// Names for images, as QEMU has them: `https://…`, `opfs:dir/a.qcow2`, `json:{…}`, or a plain path.
// A name becomes options; options of a protocol become a name again. `stored-name.ts` is about names
// that are stored in images.

import { isOptionTree } from '../base/options.ts';
import type { OptionTree } from '../base/options.ts';
import { BlockError } from './block-error.ts';
import { isRegistered } from './registry.ts';

const MAX_JSON = 1024 * 1024;

/** Options for `name`: a protocol's, or anything for `json:`. Throws BlockError('EINVAL'). */
export function parseFilename(name: string): OptionTree {
  if (name.startsWith('json:')) return parseJson(name);
  const prefix = protocolOf(name);
  switch (prefix) {
    case 'http':
    case 'https':
      return { driver: 'http', url: name };
    case 'opfs':
      return { driver: 'opfs', path: name.slice('opfs:'.length) };
    case 'idb':
      return { driver: 'idb', database: name.slice('idb:'.length) };
    case 'null-co':
      return { driver: 'null-co' };
    case 'memory': {
      const size = name.slice('memory:'.length);
      return size === '' ? { driver: 'memory' } : { driver: 'memory', size };
    }
    case 'file':
      return plainPath(name.slice('file:'.length));
    case undefined:
      return plainPath(name);
    default:
      throw new BlockError('EINVAL', `unknown protocol '${prefix}' in '${shown(name)}'`);
  }
}

/** The name that opens a protocol node again; `json:` where its options have no shorter one. */
export function filenameOf(driver: string, options: OptionTree): string {
  const { url, path, filename, database } = options;
  const names = ['url', 'path', 'filename', 'database'];
  const rest = Object.keys(options).filter((key) => !names.includes(key));
  // `create` and `size` say how to make a file, not which.
  const sized = driver === 'opfs' || driver === 'idb';
  const plain = rest.every((key) => key === 'create' || (key === 'size' && sized));
  if (plain && driver === 'http' && typeof url === 'string') return normalUrl(url);
  if (plain && driver === 'opfs' && typeof path === 'string') return `opfs:${normalPath(path)}`;
  if (plain && driver === 'idb' && typeof database === 'string') return `idb:${database}`;
  if (plain && driver === 'file' && typeof filename === 'string') return filename;
  return `json:${JSON.stringify({ driver, ...options })}`;
}

/** What stands before the first ':', unless a '/' comes first. */
export function protocolOf(name: string): string | undefined {
  const at = name.search(/[:/]/);
  return at >= 0 && name[at] === ':' ? name.slice(0, at) : undefined;
}

function plainPath(path: string): OptionTree {
  if (isRegistered('file')) return { driver: 'file', filename: path };
  throw new BlockError(
    'EINVAL',
    `'${shown(path)}' names a local file, which there are none of here; ` +
      `say where it is: 'https://…', 'opfs:…' or options with a driver`,
  );
}

function parseJson(name: string): OptionTree {
  const text = name.slice('json:'.length);
  if (text.length > MAX_JSON) throw new BlockError('EINVAL', `json: name above ${MAX_JSON} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new BlockError('EINVAL', `'${shown(name)}' is not JSON: ${String(cause)}`, { cause });
  }
  if (isOptionTree(value)) return value;
  throw new BlockError('EINVAL', `'${shown(name)}' must hold an object of options`);
}

/** As the URL parser writes it, if it can. */
export function normalUrl(url: string): string {
  try {
    return new URL(url).href;
  } catch {
    return url;
  }
}

/** Without `.`, `..` and empty parts, as far as they can be resolved. */
export function normalPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else parts.push(part);
  }
  return (path.startsWith('/') ? '/' : '') + parts.join('/');
}

/** Short enough for a message. */
export function shown(name: string): string {
  return name.length > 120 ? `${name.slice(0, 120)}…` : name;
}
