import { describe, expect, it } from 'vitest';
import { resolveFilename } from './stored-name.ts';

describe('resolveFilename', () => {
  it.each([
    ['https://a.org/x/top.qcow2', 'base.img', 'https://a.org/x/base.img'],
    ['https://a.org/x/top.qcow2', '../base.img', 'https://a.org/base.img'],
    ['https://a.org/x/top.qcow2?v=1', 'd/base.img', 'https://a.org/x/d/base.img'],
    ['https://a.org/x/top.qcow2', 'https://b.org/c', 'https://b.org/c'],
    ['opfs:vm/top.qcow2', 'base.img', 'opfs:vm/base.img'],
    ['opfs:vm/top.qcow2', '../../base.img', 'opfs:../base.img'],
    ['opfs:top.qcow2', './base.img', 'opfs:base.img'],
    ['idb:top.qcow2', 'base.img', 'idb:base.img'],
    ['/images/top.qcow2', 'base.img', '/images/base.img'],
    ['/images/top.qcow2', '/other/base.img', '/other/base.img'],
    ['top.qcow2', 'base.img', 'base.img'],
    ['dir/top.qcow2', './a:b', 'dir/a:b'],
    ['top.qcow2', 'json:{"driver":"null-co"}', 'json:{"driver":"null-co"}'],
  ])('%s names %s: %s', (base, name, expected) => {
    expect(resolveFilename(base, name)).toBe(expected);
  });

  it('does not guess where an image without a directory is', () => {
    expect(() => resolveFilename('json:{"driver":"x"}', 'base.img')).toThrow('has no directory');
  });
});
