// Turns unshared memory into shared memory in WebAssembly binaries: in the memory section of a
// module that defines one, and in the import section of a module that imports one. Anything that
// does not look exactly as expected is refused.

import { BlockError } from '../block/block-error.ts';

const HEADER_BYTES = 8;
const SECTION_IMPORT = 2;
const SECTION_MEMORY = 5;
const EXTERN_MEMORY = 2;
/** Limits flags: minimum only; and shared with a maximum. */
const LIMITS_MIN = 0;
const LIMITS_SHARED = 3;

interface Section {
  /** Index of the id byte, of the body, and of the first byte behind it. */
  readonly start: number;
  readonly body: number;
  readonly end: number;
}

/** Answers `value` as an unsigned LEB128 number. */
function leb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return bytes;
}

/** Reads an unsigned LEB128 number; answers it and the index behind it. */
function readLeb(bytes: Uint8Array, at: number): readonly [value: number, next: number] {
  let value = 0;
  for (let i = 0; i < 5; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) break;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if ((byte & 0x80) === 0) return [value, at + i + 1];
  }
  throw new BlockError('EINVAL', `not WebAssembly: bad number at byte ${at}`);
}

function findSection(bytes: Uint8Array, id: number): Section {
  const magic = bytes.length >= HEADER_BYTES && bytes[0] === 0 && bytes[1] === 0x61;
  if (!magic || bytes[2] !== 0x73 || bytes[3] !== 0x6d) {
    throw new BlockError('EINVAL', 'not WebAssembly: no magic number');
  }
  for (let at = HEADER_BYTES; at < bytes.length;) {
    const [length, body] = readLeb(bytes, at + 1);
    const end = body + length;
    if (end > bytes.length) throw new BlockError('EINVAL', `section at byte ${at} is cut off`);
    if (bytes[at] === id) return { start: at, body, end };
    at = end;
  }
  throw new BlockError('ENOTSUP', `the WebAssembly module has no section ${id}`);
}

/** A copy of `bytes` with the body of `section` replaced. */
function replaceSection(
  bytes: Uint8Array,
  section: Section,
  body: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const head = [bytes[section.start]!, ...leb(body.length)];
  const rest = bytes.subarray(section.end);
  const out = new Uint8Array(section.start + head.length + body.length + rest.length);
  out.set(bytes.subarray(0, section.start));
  out.set(head, section.start);
  out.set(body, section.start + head.length);
  out.set(rest, section.start + head.length + body.length);
  return out;
}

/** A copy of a module that defines one memory; the memory is shared, `maxPages` its limit. */
export function patchMemorySection(bytes: Uint8Array, maxPages: number): Uint8Array<ArrayBuffer> {
  const section = findSection(bytes, SECTION_MEMORY);
  const [count, flagsAt] = readLeb(bytes, section.body);
  const [minPages, next] = readLeb(bytes, flagsAt + 1);
  if (count !== 1 || bytes[flagsAt] !== LIMITS_MIN || next !== section.end) {
    throw new BlockError('ENOTSUP', 'the module does not define one plain memory');
  }
  if (minPages > maxPages || maxPages > 65536) {
    throw new BlockError('ERANGE', `maxPages ${maxPages} is not within ${minPages} and 65536`);
  }
  const body = Uint8Array.from([1, LIMITS_SHARED, ...leb(minPages), ...leb(maxPages)]);
  return replaceSection(bytes, section, body);
}

/**
 * A copy, in memory that is not shared, of a module whose last import is a memory without limit;
 * the copy imports shared memory. `maxPages` must not be less than the memory's own limit.
 */
export function patchImportedMemory(bytes: Uint8Array, maxPages: number): Uint8Array<ArrayBuffer> {
  const section = findSection(bytes, SECTION_IMPORT);
  // The last entry ends in: kind memory, flags, minimum (64 pages: one byte).
  const kindAt = section.end - 3;
  const plain = bytes[kindAt] === EXTERN_MEMORY && bytes[kindAt + 1] === LIMITS_MIN;
  if (kindAt < section.body || !plain || bytes[kindAt + 2]! >= 0x80) {
    throw new BlockError('ENOTSUP', 'the last import of a JIT module is not a plain memory');
  }
  const limit = leb(maxPages);
  const body = new Uint8Array(section.end - section.body + limit.length);
  body.set(bytes.subarray(section.body, section.end));
  body[kindAt + 1 - section.body] = LIMITS_SHARED;
  body.set(limit, section.end - section.body);
  return replaceSection(bytes, section, body);
}
