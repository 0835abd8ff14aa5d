import { describe, expect, it } from 'vitest';
import { DEFAULT_POLL } from '../aio/poll-policy.ts';
import { parsePollOptions } from './poll-options.ts';

describe('polling options', () => {
  it('are laid over what holds already', () => {
    expect(parsePollOptions({}, DEFAULT_POLL)).toEqual({ maxNs: 500_000, grow: 0, shrink: 0 });
    const options = { pollMaxNs: 0, pollGrow: 4, pollShrink: 2 };
    expect(parsePollOptions(options, DEFAULT_POLL)).toEqual({ maxNs: 0, grow: 4, shrink: 2 });
    const before = { maxNs: 7, grow: 3, shrink: 5 };
    expect(parsePollOptions({ pollGrow: 1 }, before)).toEqual({ maxNs: 7, grow: 1, shrink: 5 });
  });

  it.each([-1, 0.5, NaN, Infinity, '4' as unknown as number])('refuse %s by name', (value) => {
    expect(() => parsePollOptions({ pollShrink: value }, DEFAULT_POLL)).toThrow(
      expect.objectContaining({
        code: 'EINVAL',
        message: expect.stringMatching(/^pollShrink: .* is no whole number/) as string,
      }) as Error,
    );
  });
});
