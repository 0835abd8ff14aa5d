// What every node takes, whatever its driver: `driver`, `node-name`, `read-only`, `filename`, and settings
// (`parse-settings.ts`). They are taken off here; what is left belongs to the driver.

import { isOptionTree, nestOptions } from '../base/options.ts';
import type { OptionTree } from '../base/options.ts';
import { BlockError } from './block-error.ts';
import { parseFilename } from './filename.ts';
import { OptionReader } from './option-reader.ts';

export interface NodeOptions {
  /** Undefined: to be found out from the image's first bytes. */
  readonly driver: string | undefined;
  readonly nodeName: string | undefined;
  /** Undefined: as the parent; and read-only where the driver cannot write. */
  readonly readOnly: boolean | undefined;
  /** For `parseSettings`; undefined where there are none. */
  readonly settings: OptionTree | undefined;
  /** The driver's own. */
  readonly rest: OptionTree;
}

const SETTINGS = ['discard', 'cache', 'detect-zeroes', 'force-share'];
const COMMON = ['driver', 'node-name', 'read-only', ...SETTINGS];

/** Takes `tree` apart. `asProtocol`: a `filename` without a driver names a protocol node. */
export function parseNodeOptions(tree: OptionTree, asProtocol: boolean): NodeOptions {
  const named = withoutFilename(tree, asProtocol);
  const about = named['driver'];
  const reader = new OptionReader(typeof about === 'string' ? about : 'image', named);
  const [, rest] = divided(named, COMMON);
  const [settings] = divided(named, SETTINGS);
  return {
    driver: reader.string('driver'),
    nodeName: reader.string('node-name'),
    readOnly: reader.boolean('read-only'),
    settings: Object.keys(settings).length === 0 ? undefined : settings,
    rest,
  };
}

/** Those of `tree` that every node takes. */
export function commonOptions(tree: OptionTree): OptionTree {
  return divided(tree, COMMON)[0];
}

/** The options of `tree` that are named in `keys`, and the others. */
function divided(tree: OptionTree, keys: readonly string[]): [OptionTree, OptionTree] {
  const part = (named: boolean): OptionTree =>
    Object.fromEntries(Object.entries(tree).filter(([key]) => keys.includes(key) === named));
  return [part(true), part(false)];
}

/** Options for a reference that is no node name. Throws BlockError('EINVAL'). */
export function treeOf(reference: unknown, asProtocol: boolean): OptionTree {
  if (typeof reference === 'string') {
    const tree = nested(parseFilename(reference));
    return asProtocol || reference.startsWith('json:') ? tree : { file: tree };
  }
  if (isOptionTree(reference)) return nested(reference);
  const what = reference === null ? 'null' : typeof reference;
  throw new BlockError('EINVAL', `an image is a name or an object of options, not ${what}`);
}

/** `filename` stands for the options of a protocol, unless the driver is a protocol itself. */
function withoutFilename(tree: OptionTree, asProtocol: boolean): OptionTree {
  const { filename, ...others } = tree;
  if (filename === undefined || tree['driver'] === 'file') return tree;
  if (typeof filename !== 'string') {
    throw new BlockError('EINVAL', `option 'filename' must be text, not ${typeof filename}`);
  }
  if (tree['file'] !== undefined) {
    throw new BlockError(
      'EINVAL',
      `options 'file' and 'filename' ('${filename}') exclude each other`,
    );
  }
  const file = parseFilename(filename);
  if (!asProtocol || tree['driver'] !== undefined) return { ...others, file };
  return { ...file, ...others };
}

function nested(tree: OptionTree): OptionTree {
  try {
    return nestOptions(tree);
  } catch (cause) {
    throw new BlockError('EINVAL', cause instanceof Error ? cause.message : String(cause), {
      cause,
    });
  }
}
