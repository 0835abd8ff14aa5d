import { describe, expect, it } from 'vitest';
import { nestOptions, parseKeyValues } from './options.ts';
import { formatSize, parseSize } from './size.ts';

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe('nestOptions', () => {
  it('unfolds dotted keys at every level and joins them with objects', () => {
    const nested = nestOptions({
      driver: 'qcow2',
      'file.driver': 'http',
      file: { url: 'u', 'a.b': 1 },
      backing: null,
      'children.0.file': 'x',
      gone: undefined,
    });
    expect(plain(nested)).toEqual({
      driver: 'qcow2',
      file: { driver: 'http', url: 'u', a: { b: 1 } },
      backing: null,
      children: { 0: { file: 'x' } },
    });
  });

  it('refuses keys given twice, values that are also trees, and empty parts', () => {
    expect(() => nestOptions({ a: { b: 1 }, 'a.b': 2 })).toThrow("'a.b' is given twice");
    expect(() => nestOptions({ 'a.b': 2, a: { b: 1 } })).toThrow("'a.b' is given twice");
    expect(() => nestOptions({ a: 1, 'a.b': 2 })).toThrow("'a' has a value already");
    expect(() => nestOptions({ 'a.b': 2, a: 1 })).toThrow("'a' is given twice");
    expect(() => nestOptions({ 'a..b': 2 })).toThrow('empty part');
  });

  it('makes nothing of __proto__ but a key', () => {
    const nested = nestOptions(
      JSON.parse('{"__proto__": {"evil": 1}, "constructor.x": 2}') as object as Record<
        string,
        unknown
      >,
    );
    expect(Object.keys(nested)).toEqual(['__proto__', 'constructor']);
    expect(({} as Record<string, unknown>)['evil']).toBeUndefined();
  });
});

describe('parseKeyValues', () => {
  it('splits at single commas; a bare key is on', () => {
    const parsed = parseKeyValues('driver=qcow2,file.filename=a,,b=c,lazy,x=,,');
    expect({ ...parsed }).toEqual({
      driver: 'qcow2',
      'file.filename': 'a,b=c',
      lazy: 'on',
      x: ',',
    });
    expect(() => parseKeyValues('a=1,a=2')).toThrow("'a' is given twice");
    expect(() => parseKeyValues('a=1,=2')).toThrow('without a name');
  });
});

describe('sizes', () => {
  it.each([
    ['0', 0], ['512', 512], ['64K', 65536], ['64k', 65536], ['1.5G', 1610612736], ['2 MiB', 2097152],
    ['3TB', 3 * 2 ** 40], ['7P', 7 * 2 ** 50], ['10B', 10], ['1.1K', 1126],
    ['', undefined], ['K', undefined], ['-1', undefined], ['1e3', undefined], ['9P', undefined],
    ['8E', undefined], ['0x10', undefined], ['1.G', undefined], ['99999999999999999', undefined],
  ])('%j is %s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  }); // prettier-ignore

  it('are written for people', () => {
    const shown = [0, 517, 1024, 65536, 1.5 * 2 ** 30, 1000 * 2 ** 20, 2 ** 50].map(formatSize);
    expect(shown).toEqual(['0 B', '517 B', '1 KiB', '64 KiB', '1.5 GiB', '1000 MiB', '1 PiB']);
  });
});
