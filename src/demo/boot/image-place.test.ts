// Where images are, as URLs write it down, and what their copies are called.

import { describe, expect, it } from 'vitest';
import { parseImagePlace, storedName } from './image-place.ts';

describe('parseImagePlace', () => {
  it.each([
    ['https://example.org/a.img', { kind: 'url', url: 'https://example.org/a.img' }],
    ['opfs:a/b.img', { kind: 'stored', store: 'opfs', name: 'a/b.img' }],
    ['idb:b', { kind: 'stored', store: 'idb', name: 'b' }],
    ['memory:c', { kind: 'stored', store: 'memory', name: 'c' }],
    ['file:d e.img', { kind: 'file', name: 'd e.img' }],
  ])('reads %s', (where, place) => {
    expect(parseImagePlace(where)).toEqual(place);
  });

  it.each(['', 'opfs:', 'javascript:alert(1)', 'https://', 'ftp://a/b'])('refuses %j', (where) => {
    expect(parseImagePlace(where)).toBeUndefined();
  });
});

describe('storedName', () => {
  it.each([
    ['disk.img', 'disk.img'],
    ['../../etc/passwd', 'etc-passwd'],
    ['mein Bild (2).qcow2', 'mein-Bild-2-.qcow2'],
    ['...', 'disk.img'],
  ])('%j is kept as %j', (name, kept) => {
    expect(storedName(name)).toBe(`diskplane/images/${kept}`);
  });
});
