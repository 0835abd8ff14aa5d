// Range headers, each against a representation of 10 bytes unless it says otherwise.

import { describe, expect, it } from 'vitest';
import { contentRange, parseByteRange } from './byte-range.ts';

describe('parseByteRange', () => {
  it.each([
    ['bytes=0-0', { first: 0, last: 0 }],
    ['bytes=2-5', { first: 2, last: 5 }],
    ['Bytes=2-5', { first: 2, last: 5 }],
    ['bytes=9-', { first: 9, last: 9 }],
    ['bytes=4-99', { first: 4, last: 9 }],
    ['bytes=-3', { first: 7, last: 9 }],
    ['bytes=-30', { first: 0, last: 9 }],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=10-20', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=5-4', undefined],
    ['bytes=-', undefined],
    ['bytes=0-1,3-4', undefined],
    ['bytes=a-b', undefined],
    ['pages=0-1', undefined],
    [undefined, undefined],
  ])('%s', (header, expected) => {
    expect(parseByteRange(header, 10)).toEqual(expected);
  });

  it('finds nothing in an empty representation', () => {
    expect(parseByteRange('bytes=0-', 0)).toBe('unsatisfiable');
    expect(parseByteRange('bytes=-1', 0)).toBe('unsatisfiable');
  });
});

describe('contentRange', () => {
  it('names range and total', () => {
    expect(contentRange({ first: 2, last: 5 }, 10)).toBe('bytes 2-5/10');
    expect(contentRange({ first: 2, last: 5 }, '*')).toBe('bytes 2-5/*');
  });
});
