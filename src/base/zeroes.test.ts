import { expect, it } from 'vitest';
import { isZero } from './zeroes.ts';

it('finds a byte wherever it is, in whatever part of a buffer', () => {
  const bytes = new Uint8Array(64);
  for (let start = 0; start < 6; start++) {
    for (let end = start; end < 40; end++) {
      expect(isZero(bytes, start, end)).toBe(true);
      const part = bytes.subarray(start, end);
      for (let at = 0; at < part.length; at++) {
        part[at] = 1;
        expect(isZero(bytes, start, end), `${at} of ${start}-${end}`).toBe(false);
        expect(isZero(part)).toBe(false);
        expect(isZero(bytes, start, start + at)).toBe(true);
        expect(isZero(bytes, start + at + 1, end)).toBe(true);
        part[at] = 0;
      }
    }
  }
});
