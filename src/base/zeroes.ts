// Looks for bytes that are not zero, four at a time.

/** True when every byte of `[from, to)` is zero. Quick where the first words are not. */
export function isZero(bytes: Uint8Array, from = 0, to: number = bytes.length): boolean {
  let at = from;
  for (; at < to && (bytes.byteOffset + at) % 4 !== 0; at++) if (bytes[at] !== 0) return false;
  const count = (to - at) >>> 2;
  if (count > 0) {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, count);
    for (let i = 0; i < count; i++) if (words[i] !== 0) return false;
    at += count * 4;
  }
  for (; at < to; at++) if (bytes[at] !== 0) return false;
  return true;
}
