import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { NodeHost } from '../host/node.ts';
import {
  DOORBELL_POSTED,
  DOORBELL_RECEIVED,
  DOORBELL_SLEEPING,
  DOORBELL_WORDS,
  EventNotifier,
} from './event-notifier.ts';
import { WorkerContext } from './worker-context.ts';

const host = new NodeHost(new URL('file:///unused'));

function setUp(onBug?: (error: unknown) => void): {
  context: WorkerContext;
  doorbell: Int32Array;
  words: Int32Array;
} {
  const doorbell = new Int32Array(new SharedArrayBuffer(4 * DOORBELL_WORDS));
  const words = new Int32Array(new SharedArrayBuffer(64));
  return { context: new WorkerContext('test', host, doorbell, onBug), doorbell, words };
}

/** Keeps the loop asynchronous: a test shares its thread and must not be blocked. */
function holdAsync(context: WorkerContext): () => void {
  let release = (): void => {};
  void context.track(new Promise<void>((resolve) => (release = resolve)));
  return release;
}

/** A thread that stores to `words[0]`, then rings the doorbell as EventNotifier.set does. */
function ringer(words: Int32Array, doorbell: Int32Array, delayMs: number): Worker {
  const code = `
    const { workerData: { words, doorbell, delayMs } } = require('node:worker_threads');
    setTimeout(() => {
      Atomics.store(words, 0, 1);
      if (Atomics.load(doorbell, ${DOORBELL_SLEEPING}) !== 0) {
        Atomics.add(doorbell, 0, 1);
        Atomics.notify(doorbell, 0);
      }
    }, delayMs);`;
  return new Worker(code, { eval: true, workerData: { words, doorbell, delayMs } });
}

describe('WorkerContext', () => {
  it('runs bottom halves in order, once each, and what they queue in the next turn', async () => {
    const { context } = setUp();
    const order: string[] = [];
    const again = context.newBottomHalf(() => order.push('again'));
    context.scheduleOneshot(() => {
      order.push('first');
      again.schedule();
      again.schedule();
    });
    context.scheduleOneshot(() => order.push('second'));
    context.scheduleOneshot(() => context.scheduleOneshot(() => context.stop()));
    const cancelled = context.newBottomHalf(() => order.push('cancelled'));
    cancelled.schedule();
    cancelled.cancel();
    await context.run();
    expect(order).toEqual(['first', 'second', 'again']);
  });

  it('fires timers at their time, in blocking sleep, and none that was deleted', async () => {
    const { context } = setUp();
    const started = context.now();
    let fired = 0;
    context.newTimer(() => context.stop()).mod(started + 20e6);
    const deleted = context.newTimer(() => (fired = 1));
    deleted.mod(started + 5e6);
    deleted.del();
    await context.run();
    expect(fired).toBe(0);
    expect(context.now() - started).toBeGreaterThanOrEqual(20e6);
    expect(context.counters.blockingSleeps).toBeGreaterThan(0);
    expect(context.counters.asyncSleeps).toBe(0);
  });

  it('sleeps asynchronously while host work is outstanding, and lets those who wait run', async () => {
    const { context } = setUp();
    const seen: string[] = [];
    const work = context.track(new Promise<string>((resolve) => setTimeout(resolve, 10, 'done')));
    // A chain of turns behind the promise must run before the loop may block for good.
    void work
      .then((value) => Promise.resolve(value))
      .then((value) => Promise.resolve(value))
      .then((value) => {
        seen.push(value);
        context.stop();
      });
    await context.run();
    expect(seen).toEqual(['done']);
    expect(context.counters.asyncSleeps).toBeGreaterThan(0);
    expect(context.counters.blockingSleeps).toBe(0);
  });

  it('is woken out of a blocking sleep by another thread, and reads the notifier once', async () => {
    const { context, doorbell, words } = setUp();
    let reads = 0;
    context.setEventNotifier(new EventNotifier(words, 0, doorbell), {
      onRead: () => {
        reads += 1;
        context.stop();
      },
    });
    const worker = ringer(words, doorbell, 20);
    await context.run();
    await worker.terminate();
    expect(reads).toBe(1);
    expect(words[0]).toBe(0);
    expect(context.counters.blockingSleeps).toBeGreaterThan(0);
  });

  it('is woken out of an asynchronous sleep by another thread', async () => {
    const { context, doorbell, words } = setUp();
    const release = holdAsync(context);
    context.setEventNotifier(new EventNotifier(words, 0, doorbell), {
      onRead: () => context.stop(),
    });
    const worker = ringer(words, doorbell, 20);
    await context.run();
    release();
    await worker.terminate();
    expect(context.counters.asyncSleeps).toBeGreaterThan(0);
  });

  it('hears doorbells and its host alike where there is no waitAsync', async () => {
    const { context, doorbell, words } = setUp();
    const release = holdAsync(context);
    const heard: string[] = [];
    context.setEventNotifier(new EventNotifier(words, 0, doorbell), {
      onRead: () => {
        heard.push('doorbell');
        // A host event: the loop must let it in although it is not woken for it.
        setTimeout(() => {
          heard.push('host');
          context.stop();
        }, 5);
      },
    });
    const { waitAsync } = Atomics;
    Reflect.deleteProperty(Atomics, 'waitAsync');
    const worker = ringer(words, doorbell, 20);
    try {
      await context.run();
    } finally {
      Object.assign(Atomics, { waitAsync });
      release();
      await worker.terminate();
    }
    expect(heard).toEqual(['doorbell', 'host']);
    expect(context.counters.blockingSleeps).toBe(0);
  });

  it('does not sleep when work came between asking for kicks and sleeping', async () => {
    const { context, doorbell, words } = setUp();
    let looks = 0;
    let served = 0;
    context.setEventNotifier(new EventNotifier(words, 0, doorbell), {
      onRead: () => {},
      onPoll: () => {
        if (looks === 0 || served > 0) return false;
        served += 1;
        context.stop();
        return true;
      },
      onSleep: () => {
        looks += 1;
        return true;
      },
    });
    await context.run();
    expect(served).toBe(1);
    expect(context.counters.blockingSleeps).toBe(0);
  });

  it('does not block while a control message is under way', async () => {
    const { context, doorbell } = setUp();
    Atomics.add(doorbell, DOORBELL_POSTED, 1);
    setTimeout(() => {
      Atomics.add(doorbell, DOORBELL_RECEIVED, 1);
      context.stop();
    }, 10);
    await context.run();
    expect(context.counters.blockingSleeps).toBe(0);
  });

  it('stops polling once events come late', async () => {
    const { context } = setUp();
    const late = context.newTimer(() => {
      if (context.counters.blockingSleeps >= 3) context.stop();
      else late.mod(context.now() + 5e6);
    });
    late.mod(context.now() + 5e6);
    await context.run();
    expect(context.pollPolicy.ns).toBe(0);
    expect(context.counters.pollMisses).toBeLessThanOrEqual(1);
  });

  it('polls within a callback, and blocks there until there is progress', async () => {
    const { context, doorbell, words } = setUp();
    const seen: string[] = [];
    context.setEventNotifier(new EventNotifier(words, 0, doorbell), {
      onRead: () => void seen.push('kick'),
    });
    context.newTimer(() => seen.push('timer')).mod(context.now() + 60e9);
    let worker: Worker | undefined;
    context.scheduleOneshot(() => {
      context.scheduleOneshot(() => seen.push('bottom half'));
      expect([context.poll(false), context.poll(false)]).toEqual([true, false]);
      worker = ringer(words, doorbell, 20);
      expect(context.poll(true)).toBe(true);
      context.newTimer(() => seen.push('soon')).mod(context.now() + 2e6);
      expect(context.poll(true)).toBe(true);
      context.stop();
    });
    await context.run();
    await worker!.terminate();
    expect(seen).toEqual(['bottom half', 'kick', 'soon']);
  });

  it('refuses to block within a callback while host work is outstanding', async () => {
    const bugs: unknown[] = [];
    const { context } = setUp((error) => bugs.push(error));
    const release = holdAsync(context);
    context.scheduleOneshot(() => {
      while (context.poll(false));
      context.poll(true);
    });
    context.scheduleOneshot(() => context.stop());
    await context.run();
    release();
    expect(bugs.map(String)).toEqual(['Error: test: poll(true) while host work is outstanding']);
    expect(context.counters.bugs).toBe(1);
  });

  it('resolves pollWhile when its condition is over and somebody says so', async () => {
    const { context } = setUp();
    let left = 3;
    const seen: number[] = [];
    await context.pollWhile(() => false);
    void context
      .pollWhile(() => left > 0)
      .then(() => {
        seen.push(left);
        context.stop();
      });
    const count = context.newTimer(() => {
      left -= 1;
      context.kick();
      if (left > 0) count.mod(context.now() + 1e6);
    });
    count.mod(context.now());
    await context.run();
    expect(seen).toEqual([0]);
    await expect(
      context.pollWhile(() => {
        throw new Error('no such condition');
      }),
    ).rejects.toThrow('no such condition');
  });

  it('runs idle bottom halves within 10 ms of sleep, and sleeps all the same', async () => {
    const { context } = setUp();
    const started = context.now();
    const idle = context.newBottomHalf(() => {
      if (context.counters.blockingSleeps >= 2) context.stop();
      else idle.scheduleIdle();
    });
    idle.scheduleIdle();
    await context.run();
    expect(context.now() - started).toBeGreaterThanOrEqual(2 * 9.9e6);
    expect(context.counters.turns).toBeLessThan(10);
  });

  it('rejects a sleep that is aborted', async () => {
    const { context } = setUp();
    const release = holdAsync(context);
    const controller = new AbortController();
    const slept = context.sleep(60e9, controller.signal);
    const running = context.run();
    controller.abort(new Error('enough'));
    await expect(slept).rejects.toThrow('enough');
    release();
    context.stop();
    await running;
  });
});

describe('WorkerContext without shared memory', () => {
  it('sleeps until it is told of work, sets no timer, and never blocks', async () => {
    const timers: number[] = [];
    const clock = {
      now: (): number => host.now(),
      random: (): number => 0,
      turn: (): Promise<void> => host.turn(),
      setTimer: (callback: () => void, ms: number): (() => void) => {
        timers.push(ms);
        return host.setTimer(callback, ms);
      },
    };
    const doorbell = new Int32Array(DOORBELL_WORDS);
    const context = new WorkerContext('test', clock, doorbell);
    const notifier = new EventNotifier(new Int32Array(1), 0, doorbell);
    let reads = 0;
    context.setEventNotifier(notifier, { onRead: () => void (reads += 1) });
    const running = context.run();
    const { counters } = context;
    for (let round = 1; round <= 3; round++) {
      // Many turns of the host with nothing to do are one sleep.
      for (let turn = 0; turn < 20; turn++) await host.turn();
      expect({ ...counters, reads, timers }).toMatchObject({
        asyncSleeps: round,
        blockingSleeps: 0,
        pollMisses: 0,
        reads: round - 1,
        timers: [],
      });
      notifier.set();
      context.notify();
    }
    const seen: string[] = [];
    context.scheduleOneshot(() => seen.push('half'));
    await context.track(host.turn().then(() => seen.push('work')));
    expect(seen).toEqual(['half', 'work']);
    const hour = context.newTimer(() => seen.push('timer'));
    hour.mod(context.now() + 3600e9);
    while (timers.length === 0) await host.turn();
    expect(timers[0]).toBeGreaterThan(3.5e6);
    hour.del();
    context.stop();
    await running;
    expect(counters.blockingSleeps).toBe(0);
  });

  it('polls within a callback, and refuses to block there', async () => {
    const bugs: unknown[] = [];
    const onBug = (error: unknown): void => void bugs.push(error);
    const context = new WorkerContext('test', host, new Int32Array(DOORBELL_WORDS), onBug);
    context.scheduleOneshot(() => {
      context.scheduleOneshot(() => context.stop());
      expect([context.poll(false), context.poll(false)]).toEqual([true, false]);
      context.poll(true);
    });
    await context.run();
    expect(bugs.map(String)).toEqual(['Error: test: poll(true) without shared memory to sleep on']);
  });

  it('lets the host have its turn while it is busy', async () => {
    const context = new WorkerContext('test', host, new Int32Array(DOORBELL_WORDS));
    const again = context.newBottomHalf(() => again.schedule());
    again.schedule();
    // A loop that kept the thread would never let this run.
    setImmediate(() => context.stop());
    await context.run();
    expect(context.counters.asyncSleeps).toBe(0);
  });
});
