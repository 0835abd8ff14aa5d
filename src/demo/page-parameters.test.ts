// What the URL may say, and what comes of nonsense.

import { describe, expect, it } from 'vitest';
import { parsePageParameters, withParameters } from './page-parameters.ts';

describe('parsePageParameters', () => {
  it('has a default for everything', () => {
    expect(parsePageParameters('')).toEqual({
      guest: 'auto',
      store: 'opfs',
      transport: 'auto',
      delayMs: 0,
      disk: 'guest-overlay',
      autostart: true,
      cmdline: '',
      image: undefined,
      complaints: [],
    });
  });

  it('takes what it knows', () => {
    const search =
      '?guest=embedded&store=idb&transport=bounce&delay=20&disk=other&autostart=0&cmdline=a%20%20b';
    expect(parsePageParameters(search)).toMatchObject({
      guest: 'embedded',
      store: 'idb',
      transport: 'bounce',
      delayMs: 20,
      disk: 'other',
      autostart: false,
      cmdline: 'a b',
      complaints: [],
    });
  });

  it.each([
    ['guest=windows', 'guest'],
    ['transport=pigeon', 'transport'],
    ['store=floppy', 'store'],
    ['delay=-1', 'delay'],
    ['delay=99999', 'delay'],
    ['disk=../secret', 'disk'],
    ['disk=', 'disk'],
    ['image=javascript:alert(1)', 'image'],
  ])('complains of %s and goes on with the default', (search, name) => {
    const { complaints, ...rest } = parsePageParameters(`?${search}`);
    expect(complaints).toHaveLength(1);
    expect(complaints[0]).toContain(`?${name}=`);
    expect({ ...rest, complaints: [] }).toEqual(parsePageParameters(''));
  });
});

describe('withParameters', () => {
  it('sets, replaces and takes away', () => {
    expect(withParameters('', { a: '1', b: undefined })).toBe('?a=1');
    expect(withParameters('?a=1&b=2', { a: '3' })).toBe('?a=3&b=2');
    expect(withParameters('?a=1', { a: undefined })).toBe('');
    expect(withParameters('?store=idb&b=2', { store: 'opfs' })).toBe('?b=2');
  });
});
