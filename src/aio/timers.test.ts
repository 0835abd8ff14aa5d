import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Timer } from './aio-context.ts';
import { TimerList } from './timers.ts';

function setUp(): { timers: TimerList; errors: unknown[] } {
  const errors: unknown[] = [];
  return {
    timers: new TimerList(
      () => {},
      (error) => errors.push(error),
    ),
    errors,
  };
}

describe('timers', () => {
  it('fire by deadline, and by arming where deadlines are equal', () => {
    const run = (armings: readonly { timer: number; expire: number }[]): void => {
      const { timers } = setUp();
      const fired: number[] = [];
      const made = Array.from({ length: 8 }, (_, i) => timers.make(() => fired.push(i)));
      for (const { timer, expire } of armings) made[timer]!.mod(expire);
      const last = new Map<number, { order: number; expire: number }>();
      armings.forEach(({ timer, expire }, order) => last.set(timer, { order, expire }));
      const expected = [...last.entries()]
        .sort(([, a], [, b]) => a.expire - b.expire || a.order - b.order)
        .map(([timer]) => timer);
      expect(timers.armed).toBe(expected.length);
      for (let now = 0; now <= 5; now++) timers.run(now);
      expect(fired).toEqual(expected);
      expect([timers.armed, timers.deadline()]).toEqual([0, Infinity]);
    };
    const arming = fc.record({ timer: fc.nat(7), expire: fc.nat(5) });
    fc.assert(fc.property(fc.array(arming, { maxLength: 20 }), run), { numRuns: 300 });
  });

  it('fire not before their time, nor once deleted, and may delete each other', () => {
    const { timers } = setUp();
    const fired: string[] = [];
    const second = timers.make(() => fired.push('second'));
    const first = timers.make(() => {
      fired.push('first');
      second.del();
    });
    first.mod(10);
    second.mod(20);
    expect([timers.run(9), timers.deadline()]).toEqual([false, 10]);
    second.mod(10);
    expect(timers.run(10)).toBe(true);
    expect(fired).toEqual(['first']);
    expect([first.armed, second.armed]).toEqual([false, false]);
  });

  it('fire once in a run however often they arm themselves for now', () => {
    const { timers } = setUp();
    const fired: string[] = [];
    const busy: Timer = timers.make(() => {
      fired.push('busy');
      busy.mod(0);
      if (!child.armed) child.mod(-5);
    });
    const child = timers.make(() => fired.push('child'));
    const quiet = timers.make(() => fired.push('quiet'));
    busy.mod(10);
    quiet.mod(50);
    timers.run(100);
    expect(fired).toEqual(['busy', 'quiet']);
    timers.run(100);
    expect(fired).toEqual(['busy', 'quiet', 'busy', 'child']);
  });

  it('never call a callback that runs, and others in a nested run', () => {
    const { timers } = setUp();
    let depth = 0;
    let deepest = 0;
    const fired: string[] = [];
    const nesting = timers.make(() => {
      depth += 1;
      deepest = Math.max(deepest, depth);
      fired.push('nesting');
      if (fired.length < 4) {
        nesting.mod(0);
        other.mod(0);
        // Armed, but not what a nested loop may wait for.
        expect([nesting.armed, timers.deadline()]).toEqual([true, 10]);
        expect(timers.run(10)).toBe(true);
        expect(timers.run(10)).toBe(false);
        expect(timers.deadline()).toBe(Infinity);
      }
      depth -= 1;
    });
    const other = timers.make(() => fired.push('other'));
    nesting.mod(10);
    timers.run(10);
    expect(fired).toEqual(['nesting', 'other']);
    timers.run(10);
    expect(fired).toEqual(['nesting', 'other', 'nesting', 'other']);
    timers.run(10);
    expect([fired.length, deepest, timers.armed]).toEqual([5, 1, 0]);
  });

  it('do not lose the others when one throws', () => {
    const { timers, errors } = setUp();
    const error = new Error('a bug');
    const fired: string[] = [];
    const broken = timers.make(() => {
      throw error;
    });
    broken.mod(1);
    timers.make(() => fired.push('next')).mod(2);
    expect(timers.run(2)).toBe(true);
    expect([fired, errors]).toEqual([['next'], [error]]);
    broken.mod(3);
    timers.run(3);
    expect(errors).toHaveLength(2);
  });
});
