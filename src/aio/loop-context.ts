// What every AioContext is made of, whoever turns its loop: bottom halves, event handlers, timers,
// the count of host work. A subclass says what time it is and how the loop sleeps and wakes; the
// worker's does that with futexes, the simulated one with events of a virtual clock.

import type { AioContext, BottomHalf, EventHandler, Timer } from './aio-context.ts';
import { AioWait } from './aio-wait.ts';
import { BottomHalves, IDLE_BOTTOM_HALF_NS } from './bottom-halves.ts';
import { EventHandlers } from './event-handlers.ts';
import type { EventNotifier } from './event-notifier.ts';
import { TimerList } from './timers.ts';

export abstract class LoopContext implements AioContext {
  readonly name: string;
  protected readonly halves: BottomHalves;
  protected readonly timers: TimerList;
  protected readonly handlers: EventHandlers;
  readonly #wait: AioWait;
  #hostWork = 0;

  /** `onBug` hears what a callback of the loop throws; the loop goes on with the others. */
  constructor(name: string, onBug: (error: unknown) => void) {
    this.name = name;
    const wake = (): void => this.wake();
    this.halves = new BottomHalves(wake, onBug);
    this.timers = new TimerList(wake, onBug);
    this.handlers = new EventHandlers(onBug);
    this.#wait = new AioWait((callback) => this.halves.make(callback));
  }

  abstract now(): number;
  abstract random(): number;
  abstract poll(blocking: boolean): boolean;
  abstract notify(): void;
  /** Something was queued on this thread; the loop may be between two turns, or asleep. */
  protected abstract wake(): void;

  newBottomHalf(callback: () => void): BottomHalf {
    return this.halves.make(callback);
  }
  scheduleOneshot(callback: () => void): void {
    this.halves.make(callback).schedule();
  }
  newTimer(callback: () => void): Timer {
    return this.timers.make(callback);
  }
  setEventNotifier(notifier: EventNotifier, handler: EventHandler | null): void {
    this.handlers.set(notifier, handler, this.now());
    this.wake();
  }

  sleep(ns: number, signal?: AbortSignal): Promise<void> {
    return this.track(
      new Promise((resolve, reject) => {
        const abort = (): void => {
          timer.del();
          reject(signal!.reason as Error);
        };
        const timer = this.newTimer(() => {
          signal?.removeEventListener('abort', abort);
          resolve();
        });
        if (signal?.aborted === true) return abort();
        signal?.addEventListener('abort', abort, { once: true });
        timer.mod(this.now() + ns);
      }),
    );
  }

  /** Where the host has no turns of its own, a turn of the loop is one. */
  hostTurn(): Promise<void> {
    return this.sleep(0);
  }

  async pollWhile(condition: () => boolean): Promise<void> {
    if (condition()) await this.track(this.#wait.whileHolds(condition));
  }
  kick(): void {
    this.#wait.kick();
  }

  track<T>(promise: Promise<T>): Promise<T> {
    this.#hostWork += 1;
    const done = (): void => {
      this.#hostWork -= 1;
      this.hostWorkSettled();
    };
    promise.then(done, done);
    return promise;
  }

  /** Promises handed to `track` that have not settled. */
  get hostWork(): number {
    return this.#hostWork;
  }
  /** Timers armed now. */
  get armedTimers(): number {
    return this.timers.armed;
  }

  /** Those who await a tracked promise run after this, in promise jobs. */
  protected hostWorkSettled(): void {
    this.wake();
  }

  /** One turn, in QEMU's order: bottom halves, handlers, timers. True when there was progress. */
  protected turn(now: number): boolean {
    let progress = this.halves.run();
    progress = this.handlers.look(now) || progress;
    return this.timers.run(now) || progress;
  }

  /** Until when the loop may sleep, `now()` nanoseconds, when nothing is pending; or Infinity. */
  protected deadline(now: number): number {
    const deadline = this.timers.deadline();
    return this.halves.idle ? Math.min(deadline, now + IDLE_BOTTOM_HALF_NS) : deadline;
  }
}
