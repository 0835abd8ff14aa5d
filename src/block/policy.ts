// Names stored in images are input from outside: a downloaded image could name any file or server
// that its user can reach. So none is followed but where the caller said so beforehand.

import type { BlockChild } from './block-child.ts';
import type { OptionTree } from '../base/options.ts';
import { BlockError } from './block-error.ts';
import type { ChildRole } from './block-child.ts';
import { parseFilename } from './filename.ts';
import { placeOf, resolveFilename } from './stored-name.ts';

/** Which images that an *image* names may be followed. The caller's own options always may. */
export interface BackingPolicy {
  /** Protocol drivers allowed, e.g. `['http', 'opfs']`; empty allows none. */
  readonly drivers: readonly string[];
  /** Where: the URL or path is one of these, or lies below it. Absent: anywhere. */
  readonly prefixes?: readonly string[];
}

/** What an image names, for a policy that looks for itself. */
export interface NamedImage {
  /** Of the image that names it. */
  readonly node: string;
  readonly role: ChildRole;
  /** As stored. */
  readonly name: string;
  /** `name` with the directory of the image that names it. */
  readonly filename: string;
  /** The format stored beside it, if any. */
  readonly format: string | undefined;
}

/** True or false, or the options to open instead. */
export type PolicyFunction = (
  image: NamedImage,
) => boolean | OptionTree | Promise<boolean | OptionTree>;

export type OpenPolicy = BackingPolicy | PolicyFunction;

/** What an image names, and the file names of it and all images above it. */
interface Followed {
  readonly reference: OptionTree;
  readonly above: readonly string[];
}

/**
 * Options of the node to open for what an image with `children` names, which has the images `over` above it.
 * Throws BlockError, EACCES when `policy` does not allow it.
 */
export async function followName(
  policy: OpenPolicy | undefined,
  named: Omit<NamedImage, 'filename'>,
  over: readonly string[],
  children: readonly BlockChild[],
): Promise<Followed> {
  const image = children.find((edge) => edge.role === 'file')?.node.filename ?? 'json:';
  const above = [...over, image];
  const filename = resolveFilename(image, named.name);
  const reference = await applyPolicy(policy, { ...named, filename });
  if (!above.includes(filename)) return { reference, above };
  const { node } = named;
  const circle = [...above, filename].join(' → ');
  throw new BlockError('EINVAL', `node '${node}': the backing chain goes in a circle: ${circle}`, {
    node,
  });
}

/**
 * Options of the node to open for `image`. Throws BlockError('EACCES') when `policy`, absent for
 * "none", does not allow it; the message says how to.
 */
export async function applyPolicy(
  policy: OpenPolicy | undefined,
  image: NamedImage,
): Promise<OptionTree> {
  if (typeof policy === 'function') {
    const verdict = await policy(image);
    if (verdict === false) throw refused(image, 'the policy says no');
    return verdict === true ? withFormat(image) : verdict;
  }
  if (policy === undefined || policy.drivers.length === 0) {
    throw refused(image, 'no policy allows names stored in images');
  }
  if (image.filename.startsWith('json:')) {
    throw refused(image, 'json: names need a policy function');
  }
  const options = parseFilename(image.filename);
  const driver = String(options['driver']);
  if (!policy.drivers.includes(driver)) throw refused(image, `driver '${driver}' is not allowed`);
  const place = placeOf(options);
  const inside = (prefix: string): boolean => place !== undefined && liesBelow(place, prefix);
  if (policy.prefixes !== undefined && !policy.prefixes.some(inside)) {
    throw refused(image, `'${place ?? driver}' lies below none of the allowed prefixes`);
  }
  return withFormat(image);
}

/** Whole path elements: `https://a.org` does not cover `https://a.org.evil.net/`. */
function liesBelow(place: string, prefix: string): boolean {
  if (!place.startsWith(prefix)) return false;
  if (/(^|\/)\.\.(\/|$)/.test(place)) return false;
  return prefix === '' || prefix.endsWith('/') || /^($|[/?#])/.test(place.slice(prefix.length));
}

function withFormat(image: NamedImage): OptionTree {
  const file = parseFilename(image.filename);
  if (image.filename.startsWith('json:')) return file;
  return image.format === undefined ? { file } : { driver: image.format, file };
}

function refused(image: NamedImage, why: string): BlockError {
  const format = image.format === undefined ? '' : ` (format ${image.format})`;
  return new BlockError(
    'EACCES',
    `node '${image.node}': the image names '${image.filename}'${format} as its ${image.role} file, ` +
      `and ${why}. Give '${image.role}' in the options (null for none), or allow it with ` +
      `policy: { drivers: […], prefixes: […] }`,
    { node: image.node },
  );
}
