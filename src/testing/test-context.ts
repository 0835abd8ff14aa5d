// An AioContext for unit tests that talk to the real host (files, servers, its timers): real time and
// the host's own event loop, seeded chance. A turn is a microtask; between two the loop sleeps, as
// others do, and is woken by the host. Tests without a host use `sim-world.ts`.

import { assert } from '../base/assert.ts';
import { LoopContext } from '../aio/loop-context.ts';
import { Prng } from './prng.ts';

/** What a test may ask on top. */
export interface TestContext extends LoopContext {
  /** Promises handed to `track` so far. */
  readonly tracked: number;
}

/** A fresh context. `seed` fixes what `random` answers; its clock runs `speed` times as fast as ours. */
export function testContext(seed = 1, speed = 1): TestContext {
  return new HostContext(seed, speed);
}

class HostContext extends LoopContext implements TestContext {
  tracked = 0;
  readonly #prng: Prng;
  readonly #speed: number;
  #turnDue = false;
  #alarm: ReturnType<typeof setTimeout> | undefined;

  constructor(seed: number, speed: number) {
    // Not caught by anybody: the test run fails.
    super('test', (error) => {
      queueMicrotask(() => {
        throw error;
      });
    });
    this.#prng = new Prng(seed);
    this.#speed = speed;
  }

  now(): number {
    return Math.round(performance.now() * 1e6 * this.#speed);
  }
  random(): number {
    return this.#prng.next() / 2 ** 32;
  }

  override hostTurn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  notify(): void {
    this.wake();
  }

  poll(blocking: boolean): boolean {
    assert(!blocking, 'a test shares its thread with the host and must not block');
    return this.turn(this.now());
  }

  override track<T>(promise: Promise<T>): Promise<T> {
    this.tracked += 1;
    return super.track(promise);
  }

  protected override hostWorkSettled(): void {
    // Whoever awaits it runs by itself.
  }

  protected override wake(): void {
    if (this.#turnDue) return;
    this.#turnDue = true;
    queueMicrotask(() => {
      this.#turnDue = false;
      const progress = this.turn(this.now());
      if (progress || this.handlers.lastLook() || this.halves.pending) this.wake();
      else this.#sleep();
    });
  }

  #sleep(): void {
    clearTimeout(this.#alarm);
    const now = this.now();
    const ms = (this.deadline(now) - now) / this.#speed / 1e6;
    if (ms === Infinity) return;
    this.#alarm = setTimeout(() => this.wake(), Math.max(0, Math.ceil(ms)));
  }
}
