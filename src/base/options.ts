// QEMU writes a tree of options in three ways: as nested objects, with dotted keys (`file.driver`),
// or as text (`driver=qcow2,file.driver=http`). Everything below works on nested objects.

/** A tree of options. */
export type OptionTree = Readonly<Record<string, unknown>>;

/** Deeper is refused: hostile or circular input. */
const MAX_DEPTH = 200;

/** True for what `{…}` makes; arrays and class instances are values. */
export function isOptionTree(value: unknown): value is OptionTree {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/**
 * A copy with dotted keys unfolded into nested objects, at every level. An explicit object and dotted
 * keys for it go together. Throws an Error that names a key given twice, or a path that is both a
 * value and a tree.
 */
export function nestOptions(options: OptionTree, depth = 0): Record<string, unknown> {
  if (depth > MAX_DEPTH) throw new Error(`options are nested more than ${MAX_DEPTH} deep`);
  const nested = newTree();
  for (const [path, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const keys = path.split('.');
    if (keys.some((key) => key === '')) throw new Error(`option '${path}' has an empty part`);
    let tree = nested;
    for (const key of keys.slice(0, -1)) {
      const inner = (tree[key] ??= newTree());
      if (!isOptionTree(inner)) throw new Error(`option '${path}': '${key}' has a value already`);
      tree = inner;
    }
    const last = keys.at(-1)!;
    put(tree, last, isOptionTree(value) ? nestOptions(value, depth + 1) : value, path);
  }
  return nested;
}

/**
 * Reads `key=value,key=value` (`--image-opts`, `-o`). A comma in a value is doubled; a key without
 * `=` is `on`. Values are text. Throws an Error that names a key given twice, or an empty one.
 */
export function parseKeyValues(text: string): Record<string, string> {
  const parsed: Record<string, string> = newTree() as Record<string, string>;
  for (const part of splitAtCommas(text)) {
    const equals = part.indexOf('=');
    const key = equals < 0 ? part : part.slice(0, equals);
    if (key === '') throw new Error(`option without a name in '${text}'`);
    if (Object.hasOwn(parsed, key)) throw new Error(`option '${key}' is given twice`);
    parsed[key] = equals < 0 ? 'on' : part.slice(equals + 1);
  }
  return parsed;
}

/** Parts between single commas; doubled commas become one. */
function splitAtCommas(text: string): string[] {
  const parts = [''];
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== ',') parts[parts.length - 1] += text[i]!;
    else if (text[i + 1] === ',') {
      parts[parts.length - 1] += ',';
      i += 1;
    } else parts.push('');
  }
  return parts;
}

/** Without a prototype: keys come from outside, `__proto__` among them. */
function newTree(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

function put(tree: Record<string, unknown>, key: string, value: unknown, path: string): void {
  const there = tree[key];
  if (there === undefined) {
    tree[key] = value;
    return;
  }
  if (!isOptionTree(there) || !isOptionTree(value)) {
    throw new Error(`option '${path}' is given twice`);
  }
  for (const [inner, leaf] of Object.entries(value)) {
    put(there, inner, leaf, `${path}.${inner}`);
  }
}
