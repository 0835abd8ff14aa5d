import { describe, expect, it } from 'vitest';
import { EIO, ENOSPC, andThen, errnoOf, errorCode, sequence } from './ret.ts';

describe('sequence', () => {
  it('answers at once while its steps do, later from the first promise on', async () => {
    const seen: number[] = [];
    const step = (i: number): number => seen.push(i);
    expect(sequence(3, step)).toBe(0);
    const mixed = sequence(4, (i) => (i === 2 ? Promise.resolve(step(i)) : step(i)));
    expect(mixed).toBeInstanceOf(Promise);
    expect(await mixed).toBe(0);
    expect(seen).toEqual([0, 1, 2, 0, 1, 2, 3]);
  });

  it('stops at the first failure, now or later', async () => {
    let steps = 0;
    expect(sequence(5, (i) => (steps++, i === 1 ? -EIO : 0))).toBe(-EIO);
    expect(await sequence(5, (i) => (steps++, Promise.resolve(i === 2 ? -ENOSPC : 0)))).toBe(
      -ENOSPC,
    );
    expect(steps).toBe(5);
  });
});

describe('errno', () => {
  it('goes to names and back; unknown numbers are EIO', () => {
    expect([errorCode(-ENOSPC), errorCode(-9999), errnoOf('ENOSPC')]).toEqual([
      'ENOSPC',
      'EIO',
      28,
    ]);
  });

  it('andThen skips what follows a failure', async () => {
    const fail = (): number => expect.fail('was called');
    expect(andThen(-EIO, fail)).toBe(-EIO);
    expect(await andThen(Promise.resolve(-EIO), fail)).toBe(-EIO);
    expect(await andThen(Promise.resolve(1), (ret) => ret + 1)).toBe(2);
  });
});
