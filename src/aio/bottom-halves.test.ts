import { describe, expect, it } from 'vitest';
import { BottomHalves } from './bottom-halves.ts';

function setUp(): {
  halves: BottomHalves;
  log: string[];
  errors: unknown[];
  logging: (name: string) => ReturnType<BottomHalves['make']>;
  wakes: () => number;
} {
  const errors: unknown[] = [];
  let wakes = 0;
  const halves = new BottomHalves(
    () => (wakes += 1),
    (error) => errors.push(error),
  );
  const log: string[] = [];
  const logging = (name: string): ReturnType<BottomHalves['make']> =>
    halves.make(() => log.push(name));
  return { halves, log, errors, logging, wakes: () => wakes };
}

describe('bottom halves', () => {
  it('run in their order, once however often they were scheduled', () => {
    const { halves, log, logging, wakes } = setUp();
    const [a, b] = [logging('a'), logging('b')];
    b.schedule();
    a.schedule();
    b.schedule();
    expect([a.scheduled, halves.pending, wakes()]).toEqual([true, true, 2]);
    expect(halves.run()).toBe(true);
    expect(log).toEqual(['b', 'a']);
    expect([a.scheduled, halves.pending, halves.run()]).toEqual([false, false, false]);
  });

  it('leave what they schedule, themselves too, to the next slice', () => {
    const { halves, log, logging } = setUp();
    const later = logging('later');
    const again = halves.make(() => {
      log.push('again');
      again.schedule();
      later.schedule();
    });
    again.schedule();
    halves.run();
    expect(log).toEqual(['again']);
    halves.run();
    expect(log).toEqual(['again', 'again', 'later']);
  });

  it('see the slices around them in a nested run, before what came since', () => {
    const { halves, log, logging } = setUp();
    const [outer, inner, last] = [logging('outer'), logging('inner'), logging('last')];
    const nesting = halves.make(() => {
      log.push('(');
      inner.schedule();
      expect(halves.run()).toBe(true);
      last.schedule();
      log.push(')');
    });
    nesting.schedule();
    outer.schedule();
    expect(halves.run()).toBe(true);
    expect(log).toEqual(['(', 'outer', 'inner', ')']);
    expect(last.scheduled).toBe(true);
  });

  it('may be run by a nested run while they run, as QEMU has it', () => {
    const { halves, log } = setUp();
    let depth = 0;
    const half = halves.make(() => {
      depth += 1;
      log.push(`depth ${depth}`);
      if (depth < 3) {
        half.schedule();
        halves.run();
      }
    });
    half.schedule();
    halves.run();
    expect(log).toEqual(['depth 1', 'depth 2', 'depth 3']);
  });

  it('do not run once cancelled or deleted, even by one of their own slice', () => {
    const { halves, log, logging } = setUp();
    const [cancelled, deleted, kept] = [logging('cancelled'), logging('deleted'), logging('kept')];
    halves
      .make(() => {
        cancelled.cancel();
        deleted.delete();
      })
      .schedule();
    for (const half of [cancelled, deleted, kept]) half.schedule();
    halves.run();
    expect(log).toEqual(['kept']);
    cancelled.schedule();
    halves.run();
    expect(log).toEqual(['kept', 'cancelled']);
    expect(() => deleted.schedule()).toThrow('a deleted bottom half was scheduled');
  });

  it('may delete themselves', () => {
    const { halves, log } = setUp();
    const half = halves.make(() => {
      log.push('once');
      half.delete();
    });
    half.schedule();
    halves.run();
    expect([log, half.scheduled]).toEqual([['once'], false]);
  });

  it('are no progress when idle, unless they were scheduled as well', () => {
    const { halves, log, logging } = setUp();
    const [idle, both] = [logging('idle'), logging('both')];
    idle.scheduleIdle();
    expect([halves.pending, halves.idle]).toEqual([false, true]);
    expect(halves.run()).toBe(false);
    both.scheduleIdle();
    both.schedule();
    both.scheduleIdle();
    expect([halves.pending, halves.idle]).toEqual([true, false]);
    expect(halves.run()).toBe(true);
    idle.scheduleIdle();
    idle.cancel();
    expect([halves.pending, halves.idle, halves.run()]).toEqual([false, false, false]);
    expect(log).toEqual(['idle', 'both']);
  });

  it('do not lose the others when one throws', () => {
    const { halves, log, errors, logging } = setUp();
    const error = new Error('a bug');
    halves
      .make(() => {
        throw error;
      })
      .schedule();
    logging('after').schedule();
    expect(halves.run()).toBe(true);
    expect([log, errors]).toEqual([['after'], [error]]);
  });
});
