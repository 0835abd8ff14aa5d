// Every error ends in words and at least one way out.

import { describe, expect, it } from 'vitest';
import { BlockError } from '../block/block-error.ts';
import type { ErrorCode } from '../base/ret.ts';
import { describe as words, explainError } from './explain-error.ts';

const here = { ownImage: false, preparing: false, resuming: false };
const problem = (code: ErrorCode, where = here): ReturnType<typeof explainError> =>
  explainError(new BlockError(code, 'why'), where);

describe('explainError', () => {
  it.each<ErrorCode>(['EBUSY', 'ESTALE', 'ENOSPC', 'ENOENT', 'ENODEV', 'EIO', 'EINVAL', 'EROFS'])(
    '%s has a way out, and one to another image or a reset',
    (code) => {
      const { title, ways, detail } = problem(code);
      expect(title).not.toBe('');
      expect(ways.some((way) => way === 'retry' || way === 'reset' || way === 'start')).toBe(true);
      expect(detail).toBe(`${code}: why`);
    },
  );

  it('tells how to build the guest only where it is the guest that is missing', () => {
    expect(problem('ENOENT', { ...here, preparing: true }).command).toBe('npm run guest');
    expect(problem('ENOENT').command).toBeUndefined();
    const own = problem('ENOENT', { ...here, preparing: true, ownImage: true });
    expect(own.command).toBeUndefined();
    expect(own.ways).toContain('leave-image');
  });

  it('offers no reset for an image of the user', () => {
    expect(problem('EINVAL').ways).toContain('reset');
    expect(problem('EINVAL', { ...here, ownImage: true }).ways).not.toContain('reset');
  });

  it('puts the disk of that time back only for a state that does not fit', () => {
    const resuming = { ...here, resuming: true };
    expect(problem('ESTALE', resuming).ways).toEqual(['restore-disk', 'start', 'open-image']);
    expect(problem('ESTALE', { ...resuming, preparing: true }).ways).toContain('reset');
    expect(problem('EINVAL', resuming).ways).toContain('start');
    expect(problem('EBUSY', resuming).ways).toContain('retry');
  });

  it('takes what is no BlockError', () => {
    expect(explainError('a string', here).detail).toBe('a string');
    expect(explainError(new TypeError('x is not'), here).ways).toContain('retry');
  });
});

describe('describe', () => {
  it('goes down to the causes', () => {
    const error = new BlockError('EIO', 'outer', { cause: new Error('inner') });
    expect(words(error)).toBe('EIO: outer (inner)');
  });
});
