// The loader of drivers in files of their own, with files as the build writes them.

import { beforeEach, describe, expect, it } from 'vitest';
import { loadDriverFile, provideToDriverFiles, setDriverUrls } from './driver-files.ts';

let number = 0;
/** The URL of a file that exports what `body` answers; no two are the same module. */
function file(body: string, build = '1.0.0+aa'): string {
  const code = `export const build = '${build}';
export async function load(need) { ${body} } // ${number++}`;
  return `data:text/javascript,${encodeURIComponent(code)}`;
}

const counts = { made: 0 };

beforeEach(() => {
  counts.made = 0;
  provideToDriverFiles({ counts, twice: (n: number) => 2 * n }, '1.0.0+aa');
});

describe('loadDriverFile', () => {
  it('hands a file what the worker exports, and answers what the file exports', async () => {
    setDriverUrls({ a: file('const { twice } = await need(); return { four: twice(2) };') });
    expect(await loadDriverFile('a')).toEqual({ four: 4 });
  });

  it('runs a file once, for the worker and for other files', async () => {
    setDriverUrls({
      shared: file('const { counts } = await need(); counts.made += 1; return { counts };'),
      b: file("const { counts } = await need('shared'); return { counts };"),
      c: file("const { counts } = await need('shared'); return { counts };"),
    });
    await Promise.all([loadDriverFile('b'), loadDriverFile('c'), loadDriverFile('b')]);
    expect(counts.made).toBe(1);
  });

  it('says where a file is missing and what to do, and looks for it again', async () => {
    setDriverUrls({ d: 'file:///nowhere/d.js' });
    await expect(loadDriverFile('d')).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringMatching(/'d' .*file:\/\/\/nowhere\/d\.js.*`driversUrl`/) as string,
    });
    setDriverUrls({ d: file('return { found: true };') });
    expect(await loadDriverFile('d')).toEqual({ found: true });
  });

  it('knows files by the page’s word alone', async () => {
    setDriverUrls({});
    await expect(loadDriverFile('e')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('refuses a file of another build', async () => {
    setDriverUrls({ f: file('return {};', '1.0.0+bb') });
    await expect(loadDriverFile('f')).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringMatching(/1\.0\.0\+bb, the worker of 1\.0\.0\+aa/) as string,
    });
  });
});
