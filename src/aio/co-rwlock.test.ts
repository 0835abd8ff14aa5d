import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CoRwlock } from './co-rwlock.ts';

interface Task {
  readonly write: boolean;
  readonly start: number;
  readonly work: number;
  readonly abort: number | undefined;
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

describe('CoRwlock', () => {
  it('costs no promise where nobody is in the way', () => {
    const lock = new CoRwlock();
    expect([lock.rdlock(), lock.rdlock()]).toEqual([undefined, undefined]);
    expect(lock.wrlock(AbortSignal.abort())!.catch(() => {})).toBeInstanceOf(Promise);
    lock.unlock();
    lock.unlock();
    expect([lock.withWrlock(() => 1), lock.withRdlock(() => 2)]).toEqual([1, 2]);
    expect(() => lock.unlock()).toThrow('nobody holds');
  });

  it('lets nobody past a writer that waits, and all readers in after it', async () => {
    const lock = new CoRwlock();
    const log: string[] = [];
    void lock.rdlock();
    void lock.wrlock()!.then(() => log.push('writer'));
    void lock.rdlock()!.then(() => log.push('reader 1'));
    void lock.rdlock()!.then(() => log.push('reader 2'));
    await settle();
    expect(log).toEqual([]);
    lock.unlock();
    await settle();
    expect(log).toEqual(['writer']);
    lock.unlock();
    await settle();
    expect(log).toEqual(['writer', 'reader 1', 'reader 2']);
  });

  it('lets those on that stood behind a writer which gave up', async () => {
    const lock = new CoRwlock();
    void lock.rdlock();
    const controller = new AbortController();
    const writer = lock.wrlock(controller.signal)!;
    const reader = lock.rdlock()!;
    controller.abort(new Error('enough'));
    await expect(writer).rejects.toThrow('enough');
    await reader;
  });

  it('never has a writer beside anybody, and forgets nobody', async () => {
    const task: fc.Arbitrary<Task> = fc.record({
      write: fc.boolean(),
      start: fc.nat(6),
      work: fc.nat(4),
      abort: fc.option(fc.nat(12), { nil: undefined }),
    });
    const run = async (tasks: readonly Task[]): Promise<void> => {
      const lock = new CoRwlock();
      let [readers, writers, gaveUp, done] = [0, 0, 0, 0];
      const waitTurns = async (turns: number): Promise<void> => {
        for (let i = 0; i < turns; i++) await Promise.resolve();
      };
      const one = async ({ write, start, work, abort }: Task): Promise<void> => {
        const controller = new AbortController();
        if (abort !== undefined) void waitTurns(abort).then(() => controller.abort(new Error()));
        await waitTurns(start);
        const body = async (): Promise<void> => {
          if (write) writers += 1;
          else readers += 1;
          expect(writers === 0 || (writers === 1 && readers === 0)).toBe(true);
          await waitTurns(work);
          if (write) writers -= 1;
          else readers -= 1;
          done += 1;
        };
        try {
          await (write
            ? lock.withWrlock(body, controller.signal)
            : lock.withRdlock(body, controller.signal));
        } catch {
          gaveUp += 1;
        }
      };
      await Promise.all(tasks.map(one));
      expect(done + gaveUp).toBe(tasks.length);
      expect([lock.wrlock(), gaveUp === 0 || tasks.some((t) => t.abort !== undefined)]).toEqual([
        undefined,
        true,
      ]);
    };
    await fc.assert(fc.asyncProperty(fc.array(task, { maxLength: 8 }), run), { numRuns: 300 });
  });
});
