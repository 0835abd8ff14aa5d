// An AioContext for unit tests: real time, the host's own event loop, seeded chance. It has no loop
// of its own: bottom halves are microtasks, timers the host's, and `notify` looks at the notifiers.

import type { AioContext, BottomHalf, EventHandler, Timer } from '../aio/aio-context.ts';
import type { EventNotifier } from '../aio/event-notifier.ts';
import { Prng } from './prng.ts';

/** What a test may ask on top. */
export interface TestContext extends AioContext {
  /** Promises handed to `track` so far. */
  readonly tracked: number;
  /** Of these, not settled yet. */
  readonly outstanding: number;
  /** Timers armed now. */
  readonly armedTimers: number;
}

/** A fresh context. `seed` fixes what `random` answers. */
export function testContext(seed = 1): TestContext {
  return new RealTimeContext(seed);
}

class RealTimeContext implements TestContext {
  readonly name = 'test';
  tracked = 0;
  outstanding = 0;
  armedTimers = 0;
  readonly #prng: Prng;
  readonly #handlers = new Map<EventNotifier, EventHandler>();

  constructor(seed: number) {
    this.#prng = new Prng(seed);
  }

  now(): number {
    return Math.round(performance.now() * 1e6);
  }

  random(): number {
    return this.#prng.next() / 2 ** 32;
  }

  newBottomHalf(callback: () => void): BottomHalf {
    let scheduled = 0;
    let cancelled = 0;
    return {
      schedule: (): void => {
        if (scheduled > cancelled) return;
        const mine = ++scheduled;
        queueMicrotask(() => {
          if (mine !== scheduled || cancelled >= mine) return;
          cancelled = mine;
          callback();
        });
      },
      cancel: (): void => {
        cancelled = scheduled;
      },
    };
  }

  scheduleOneshot(callback: () => void): void {
    queueMicrotask(callback);
  }

  newTimer(callback: () => void): Timer {
    let handle: ReturnType<typeof setTimeout> | undefined;
    const del = (): void => {
      if (handle === undefined) return;
      clearTimeout(handle);
      handle = undefined;
      this.armedTimers -= 1;
    };
    return {
      mod: (expire): void => {
        del();
        this.armedTimers += 1;
        const fire = (): void => {
          handle = undefined;
          this.armedTimers -= 1;
          callback();
        };
        handle = setTimeout(fire, Math.max(0, Math.ceil((expire - this.now()) / 1e6)));
      },
      del,
      get armed(): boolean {
        return handle !== undefined;
      },
    };
  }

  sleep(ns: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const aborted = (): void => {
        timer.del();
        reject(signal?.reason as Error);
      };
      const timer = this.newTimer(() => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      });
      if (signal?.aborted === true) return aborted();
      signal?.addEventListener('abort', aborted, { once: true });
      timer.mod(this.now() + ns);
    });
  }

  setEventNotifier(notifier: EventNotifier, handler: EventHandler | null): void {
    if (handler === null) this.#handlers.delete(notifier);
    else this.#handlers.set(notifier, handler);
  }

  track<T>(promise: Promise<T>): Promise<T> {
    this.tracked += 1;
    this.outstanding += 1;
    const settled = (): void => {
      this.outstanding -= 1;
    };
    promise.then(settled, settled);
    return promise;
  }

  notify(): void {
    queueMicrotask(() => {
      for (const [notifier, handler] of this.#handlers) {
        if (notifier.testAndClear()) handler.onRead();
      }
    });
  }
}
