// One thread's event loop, as QEMU's AioContext: bottom halves, timers, event notifiers. Every
// block node and device lives in exactly one context; its methods are called on that thread only.

import type { EventNotifier } from './event-notifier.ts';

/** What a context runs for a notifier. */
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
  /** Queues it; a no-op while it is queued. */
  schedule(): void;
  /** Takes it out of the queue. */
  cancel(): void;
}

/** A one-shot timer. */
export interface Timer {
  /** Arms it for `expire`, nanoseconds of `AioContext.now()`; moves it when already armed. */
  mod(expire: number): void;
  del(): void;
  readonly armed: boolean;
}

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
  /** Resolves after `ns` nanoseconds; rejects with `signal.reason` when aborted before. */
  sleep(ns: number, signal?: AbortSignal): Promise<void>;
  /** Watches `notifier`, or stops watching when `handler` is null (aio_set_event_notifier). */
  setEventNotifier(notifier: EventNotifier, handler: EventHandler | null): void;

  /**
   * Counts `promise` as outstanding host work. While there is any, the loop yields to the host
   * instead of blocking in `Atomics.wait`, so that the promise can settle. Called by BlockNode for
   * each request that did not answer at once, around control calls, and by a driver only for work
   * that it starts by itself (read-ahead).
   */
  track<T>(promise: Promise<T>): Promise<T>;

  /** Wakes the loop (aio_notify). The only member another thread may call. */
  notify(): void;
}
