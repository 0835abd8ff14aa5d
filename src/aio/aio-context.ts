// One thread's event loop, as QEMU's AioContext: bottom halves, timers, event notifiers. Every
// block node and device lives in exactly one context; its methods are called on that thread only.

import type { EventNotifier } from './event-notifier.ts';

/** What a context runs for a notifier. None of it is called again before it returned. */
export interface EventHandler {
  /** Runs after the notifier was set; the context has cleared it. */
  onRead(): void;
  /** Looks for work without being told (`io_poll`); answers true when it did some. */
  onPoll?(): boolean;
  /**
   * The loop is about to sleep: ask to be told of new work, then look once more (`io_poll_end`).
   * Answers true when there is some already; the loop then does not sleep.
   */
  onSleep?(): boolean;
}

/** A callback that runs once per `schedule`, in the context's next turn (QEMUBH). */
export interface BottomHalf {
  /** Has it run in the next turn; a no-op while it is scheduled. */
  schedule(): void;
  /** Has it run when a turn comes anyway, 10 ms from now at the latest; that is no progress. */
  scheduleIdle(): void;
  /** Has it not run. */
  cancel(): void;
  /** Has it not run, ever. Scheduling it afterwards is a bug, and throws. */
  delete(): void;
  readonly scheduled: boolean;
}

/**
 * A one-shot timer. Its callback is not called again before it returned, not even by a nested `poll`.
 * One that outlives requests sets a flag and schedules a bottom half; it does not call a driver.
 */
export interface Timer {
  /** Arms it for `expire`, nanoseconds of `AioContext.now()`; moves it when already armed. */
  mod(expire: number): void;
  del(): void;
  readonly armed: boolean;
}

/**
 * All members are for the context's own thread, except where they say otherwise. What a callback
 * throws is reported and ends neither the loop nor the other callbacks.
 */
export interface AioContext {
  readonly name: string;
  /** Monotonic nanoseconds; virtual in simulation. */
  now(): number;
  /** `[0, 1)`; seeded in simulation. */
  random(): number;

  newBottomHalf(callback: () => void): BottomHalf;
  /** Runs `callback` in the next turn, after those queued before it (aio_bh_schedule_oneshot). */
  scheduleOneshot(callback: () => void): void;
  newTimer(callback: () => void): Timer;
  /** Resolves after `ns` nanoseconds; rejects with `signal.reason` when aborted before. Tracked. */
  sleep(ns: number, signal?: AbortSignal): Promise<void>;
  /**
   * Resolves after the host had a turn of its own: messages were heard, others' requests served. For
   * work that keeps the thread busy for long.
   */
  hostTurn(): Promise<void>;
  /** Watches `notifier`, or stops watching when `handler` is null (aio_set_event_notifier). */
  setEventNotifier(notifier: EventNotifier, handler: EventHandler | null): void;

  /**
   * Counts `promise` as outstanding host work. While there is any, the loop yields to the host
   * instead of blocking in `Atomics.wait`, so that the promise can settle. Called by BlockNode for
   * each request that did not answer at once, around control calls, and by a driver only for work
   * that it starts by itself (read-ahead).
   */
  track<T>(promise: Promise<T>): Promise<T>;

  /**
   * One turn from within a callback of the loop (aio_poll): bottom halves, handlers and timers run
   * before it returns, in that order, and answers whether there was progress. Promise jobs, messages
   * and host events never run inside it, so what waits for those waits for ever.
   * `blocking`: sleeps until there is progress. Throws where the thread must not or cannot block: on a
   * page, without shared memory, and while host work is outstanding.
   */
  poll(blocking: boolean): boolean;

  /**
   * Resolves when `condition` does not hold (AIO_WAIT_WHILE); anything may run meanwhile, promise
   * jobs too. Whoever changes what `condition` looks at calls `kick`. Tracked.
   */
  pollWhile(condition: () => boolean): Promise<void>;
  /** Has the conditions of `pollWhile` looked at again (aio_wait_kick). */
  kick(): void;

  /**
   * Wakes the loop (aio_notify). This and `scheduleOneshot` are for any thread that has the context:
   * those of a simulation. Workers share no objects, and ring the doorbell instead.
   */
  notify(): void;
}
