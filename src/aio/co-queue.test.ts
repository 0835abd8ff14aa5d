import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CoMutex } from './co-mutex.ts';
import { CoQueue } from './co-queue.ts';

type Step = 'wait' | 'next' | 'turn' | { readonly abort: number };

const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

describe('CoQueue', () => {
  it('wakes the one that waits longest, or all that wait now', async () => {
    const queue = new CoQueue();
    const woken: number[] = [];
    const wait = (id: number): void => void queue.wait().then(() => woken.push(id));
    for (const id of [1, 2, 3]) wait(id);
    expect([queue.next(), queue.empty]).toEqual([true, false]);
    await settle();
    expect(woken).toEqual([1]);
    void queue.wait().then(() => wait(5));
    queue.all();
    expect([queue.empty, queue.next()]).toEqual([true, false]);
    await settle();
    expect(woken).toEqual([1, 2, 3]);
    expect(queue.empty).toBe(false);
  });

  it('gives the mutex away while waiting, and has it back when it goes on', async () => {
    const mutex = new CoMutex();
    const queue = new CoQueue();
    let ready = false;
    const log: string[] = [];
    const consumer = mutex.withLock(async () => {
      while (!ready) await queue.wait(mutex);
      log.push(`consumed, ${mutex.locked ? 'locked' : 'unlocked'}`);
    });
    const producer = mutex.withLock(async () => {
      log.push('produces');
      ready = true;
      queue.next();
      await settle();
      log.push('still has the mutex');
    });
    await Promise.all([consumer, producer]);
    expect(log).toEqual(['produces', 'still has the mutex', 'consumed, locked']);
    expect(mutex.locked).toBe(false);
  });

  it('holds the mutex again, too, where the wait was aborted', async () => {
    const mutex = new CoMutex();
    const queue = new CoQueue();
    const controller = new AbortController();
    const waiting = mutex.withLock(() => queue.wait(mutex, controller.signal));
    expect(mutex.locked).toBe(false);
    let release = (): void => {};
    const other = mutex.withLock(() => new Promise<void>((resolve) => (release = resolve)));
    controller.abort(new Error('enough'));
    const end = expect(waiting).rejects.toThrow('enough');
    await settle();
    release();
    await Promise.all([end, other]);
    expect([mutex.locked, queue.empty]).toEqual([false, true]);
  });

  it('wakes as many as it was told to, whoever gave up before or gives up too late', async () => {
    const step: fc.Arbitrary<Step> = fc.oneof(
      fc.constant('wait' as const),
      fc.constant('next' as const),
      fc.record({ abort: fc.nat(9) }),
      fc.constant('turn' as const),
    );
    const run = async (steps: readonly Step[]): Promise<void> => {
      const queue = new CoQueue();
      const aborts: AbortController[] = [];
      const [woken, gaveUp]: [number[], number[]] = [[], []];
      // Who waits, in order; a waiter leaves it when woken or aborted, whichever is first.
      const line: number[] = [];
      const expected: number[] = [];
      for (const what of steps) {
        if (what === 'wait') {
          const id = aborts.length;
          aborts.push(new AbortController());
          line.push(id);
          queue.wait(undefined, aborts[id]!.signal).then(
            () => woken.push(id),
            () => gaveUp.push(id),
          );
        } else if (what === 'next') {
          expect(queue.next()).toBe(line.length > 0);
          expected.push(...line.splice(0, 1));
        } else if (what === 'turn') {
          await Promise.resolve();
        } else if (aborts.length > 0) {
          const id = what.abort % aborts.length;
          aborts[id]!.abort(new Error());
          if (line.includes(id)) line.splice(line.indexOf(id), 1);
        }
      }
      await settle();
      expect(woken).toEqual(expected);
      expect(woken.length + gaveUp.length + line.length).toBe(aborts.length);
      expect(queue.empty).toBe(line.length === 0);
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 30 }), run), { numRuns: 300 });
  });
});
