import fc from 'fast-check';
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

  it('keep to a list of slices through any nesting', () => {
    const action = fc.record({
      kind: fc.constantFrom('schedule', 'idle', 'cancel', 'run'),
      half: fc.nat(3),
    });
    // What the halves do, one script after another as they are called.
    const scripts = fc.array(fc.array(action, { maxLength: 4 }), { maxLength: 12 });
    fc.assert(
      fc.property(scripts, (program) => {
        const { halves } = setUp();
        const real = play(
          program,
          (callback) => halves.make(callback),
          () => halves.run(),
        );
        const model = new SliceList();
        const expected = play(
          program,
          (callback) => model.make(callback),
          () => model.run(),
        );
        expect(real).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });
});

type Program = readonly (readonly { readonly kind: string; readonly half: number }[])[];
type Half = Pick<ReturnType<BottomHalves['make']>, 'schedule' | 'scheduleIdle' | 'cancel'>;

/** Runs `program` with four halves; answers what was called, and what each run answered. */
function play(program: Program, make: (callback: () => void) => Half, run: () => boolean): string {
  const log: string[] = [];
  let next = 0;
  const act = (): void => {
    for (const { kind, half } of program[next++] ?? []) {
      if (kind === 'schedule') halves[half]!.schedule();
      else if (kind === 'idle') halves[half]!.scheduleIdle();
      else if (kind === 'cancel') halves[half]!.cancel();
      else {
        log.push('(');
        log.push(`${run()})`);
      }
    }
  };
  const halves = [0, 1, 2, 3].map((i) =>
    make(() => {
      log.push(String(i));
      act();
    }),
  );
  while (next < program.length) {
    act();
    log.push(String(run()));
  }
  return log.join(' ');
}

/** Bottom halves as QEMU describes them: a list that a run takes whole, and a list of such slices. */
class SliceList {
  readonly #slices: { callback: () => void; state: number; queued: boolean }[][] = [];
  #list: { callback: () => void; state: number; queued: boolean }[] = [];

  make(callback: () => void): Half {
    const half = { callback, state: 0, queued: false };
    const schedule = (state: number): void => {
      half.state = Math.max(half.state, state);
      if (!half.queued) this.#list.push(half);
      half.queued = true;
    };
    return {
      schedule: () => schedule(2),
      scheduleIdle: () => schedule(1),
      cancel: () => void (half.state = 0),
    };
  }

  run(): boolean {
    this.#slices.push(this.#list);
    this.#list = [];
    let progress = false;
    while (this.#slices.length > 0) {
      const half = this.#slices[0]!.shift();
      if (half === undefined) {
        this.#slices.shift();
        continue;
      }
      const { state } = half;
      half.queued = false;
      half.state = 0;
      if (state === 2) progress = true;
      if (state > 0) half.callback();
    }
    return progress;
  }
}
