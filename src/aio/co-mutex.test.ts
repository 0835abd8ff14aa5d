import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CoMutex } from './co-mutex.ts';

interface Task {
  readonly start: number;
  readonly work: number;
  readonly abort: number | undefined;
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

describe('CoMutex', () => {
  it('costs no promise while nobody holds it', () => {
    const mutex = new CoMutex();
    expect([mutex.lock(), mutex.locked]).toEqual([undefined, true]);
    mutex.unlock();
    expect([mutex.withLock(() => 7), mutex.locked]).toEqual([7, false]);
    expect(() => mutex.unlock()).toThrow('nobody holds');
  });

  it('lets go when the body throws or rejects', async () => {
    const mutex = new CoMutex();
    const fail = (): never => {
      throw new Error('body');
    };
    expect(() => mutex.withLock(fail)).toThrow('body');
    await expect(mutex.withLock(async () => fail())).rejects.toThrow('body');
    const holding = mutex.withLock(() => Promise.resolve(1));
    const queued = mutex.withLock(fail);
    await expect(queued).rejects.toThrow('body');
    expect([await holding, mutex.locked]).toEqual([1, false]);
  });

  it('changes hands in unlock: nobody gets in between', async () => {
    const mutex = new CoMutex();
    void mutex.lock();
    const order: string[] = [];
    void mutex.lock()!.then(() => order.push('first'));
    mutex.unlock();
    expect(mutex.locked).toBe(true);
    void mutex.lock()!.then(() => order.push('second'));
    await settle();
    expect(order).toEqual(['first']);
    mutex.unlock();
    await settle();
    expect(order).toEqual(['first', 'second']);
  });

  it('stays with the one that it was handed to, whose signal aborts too late', async () => {
    const mutex = new CoMutex();
    void mutex.lock();
    const controller = new AbortController();
    const late = mutex.lock(controller.signal)!;
    const next = mutex.lock()!;
    mutex.unlock();
    controller.abort(new Error('too late'));
    await late;
    mutex.unlock();
    await next;
  });

  it('rejects at once where the signal was aborted before', async () => {
    const mutex = new CoMutex();
    void mutex.lock();
    await expect(mutex.lock(AbortSignal.abort(new Error('over')))).rejects.toThrow('over');
    mutex.unlock();
    expect(mutex.locked).toBe(false);
  });

  it('is held by one at a time, in the order they came, whoever gives up', async () => {
    // Each takes some turns of work; some give up after some turns, in time or too late.
    const task: fc.Arbitrary<Task> = fc.record({
      start: fc.nat(6),
      work: fc.nat(4),
      abort: fc.option(fc.nat(12), { nil: undefined }),
    });
    const run = async (tasks: readonly Task[]): Promise<void> => {
      const mutex = new CoMutex();
      const asked: number[] = [];
      const held: number[] = [];
      const gaveUp: number[] = [];
      let holders = 0;
      const waitTurns = async (turns: number): Promise<void> => {
        for (let i = 0; i < turns; i++) await Promise.resolve();
      };
      const one = async ({ start, work, abort }: Task, id: number): Promise<void> => {
        const controller = new AbortController();
        if (abort !== undefined) void waitTurns(abort).then(() => controller.abort(new Error()));
        await waitTurns(start);
        asked.push(id);
        const body = async (): Promise<void> => {
          holders += 1;
          expect(holders).toBe(1);
          held.push(id);
          await waitTurns(work);
          holders -= 1;
        };
        try {
          await mutex.withLock(body, controller.signal);
        } catch {
          gaveUp.push(id);
        }
      };
      await Promise.all(tasks.map(one));
      expect(held).toEqual(asked.filter((id) => !gaveUp.includes(id)));
      expect(mutex.locked).toBe(false);
    };
    await fc.assert(fc.asyncProperty(fc.array(task, { maxLength: 8 }), run), { numRuns: 300 });
  });
});
