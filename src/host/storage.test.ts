import { afterEach, expect, it, vi } from 'vitest';
import { persistStorage, queryStorage } from './storage.ts';

afterEach(() => vi.unstubAllGlobals());

it('passes on what the browser tells', async () => {
  vi.stubGlobal('navigator', {
    storage: {
      persisted: async () => false,
      estimate: async () => ({ usage: 5, quota: 10 }),
      persist: async () => true,
    },
  });
  expect(await queryStorage()).toEqual({ persisted: false, usage: 5, quota: 10 });
  expect(await persistStorage()).toBe(true);
});

const nothing = { persisted: undefined, usage: undefined, quota: undefined };

it('knows nothing where there is none, where it is denied, and of what a browser lacks', async () => {
  expect(await queryStorage()).toEqual(nothing);
  expect(await persistStorage()).toBe(false);
  const denied = (): never => {
    throw new TypeError('opaque origin');
  };
  vi.stubGlobal('navigator', { storage: { persisted: denied, estimate: denied, persist: denied } });
  expect(await queryStorage()).toEqual(nothing);
  expect(await persistStorage()).toBe(false);
  vi.stubGlobal('navigator', { storage: { estimate: async () => ({ usage: 1 }) } });
  expect(await queryStorage()).toEqual({ ...nothing, usage: 1 });
});
