// The Range header of RFC 9110 section 14: one range of bytes, or none that we serve. Lists of
// ranges are ignored, which the section allows, since no client here sends them.

/** A range inside a representation; `last` is inclusive, as in the header. Bytes. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/**
 * Reads a Range header against a representation of `size` bytes.
 *
 * Answers `undefined` where the header is to be ignored (absent, another unit, malformed, a list),
 * which means the whole representation with 200, and `'unsatisfiable'` where 416 is due.
 */
export function parseByteRange(
  header: string | undefined,
  size: number,
): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? '');
  if (!match) return undefined;
  const [, from, to] = match;
  if (from === '' && to === '') return undefined;
  if (from === '') {
    const suffix = Number(to);
    if (suffix === 0 || size === 0) return 'unsatisfiable';
    return { first: Math.max(0, size - suffix), last: size - 1 };
  }
  const first = Number(from);
  if (to !== '' && Number(to) < first) return undefined;
  if (first >= size) return 'unsatisfiable';
  return { first, last: to === '' ? size - 1 : Math.min(Number(to), size - 1) };
}

/** The Content-Range header of a 206 answer (section 14.4). */
export function contentRange(range: ByteRange, size: number | '*'): string {
  return `bytes ${range.first}-${range.last}/${size}`;
}
