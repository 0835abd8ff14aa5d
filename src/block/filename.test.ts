import { describe, expect, it } from 'vitest';
import { filenameOf, parseFilename } from './filename.ts';

describe('filenameOf', () => {
  it('is what parseFilename takes, json: where there is no shorter name', () => {
    for (const name of ['https://a.org/x.img', 'opfs:d/x.img', 'idb:d']) {
      const { driver, ...rest } = parseFilename(name);
      expect(filenameOf(String(driver), rest)).toBe(name);
    }
    expect(filenameOf('opfs', { path: '/d//x', create: true })).toBe('opfs:/d/x');
    const json = filenameOf('http', { url: 'https://a.org/x', readahead: 0 });
    expect(parseFilename(json)).toEqual({ driver: 'http', url: 'https://a.org/x', readahead: 0 });
  });
});
