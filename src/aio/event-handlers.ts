// The event notifiers that a context watches, and who serves them. A handler with `onPoll` is asked
// for work in every turn, which is what busy waiting looks at. One that had none for seven seconds
// leaves polling, so that the others are looked at more often; its next event brings it back.

import type { EventHandler } from './aio-context.ts';
import type { EventNotifier } from './event-notifier.ts';

/** A handler leaves polling after so long without an event, nanoseconds (QEMU's POLL_IDLE_INTERVAL). */
export const POLL_IDLE_NS = 7_000_000_000;

interface Watch {
  readonly notifier: EventNotifier;
  readonly handler: EventHandler;
  /** Asked by `look`; false after it left polling. */
  polled: boolean;
  /** When it last had work, or was set, nanoseconds. */
  lastEvent: number;
  /** Its callback runs: a nested poll does not call it again. */
  running: boolean;
  /** Taken off while others were being served. */
  removed: boolean;
}

export class EventHandlers {
  #watches: readonly Watch[] = [];
  #polled = 0;
  /** When somebody may have been idle for long enough. */
  #retireAt = Infinity;
  readonly #onError: (error: unknown) => void;

  /** `onError` hears what a handler throws; the others are served all the same. */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** Watches `notifier`, or stops watching when `handler` is null. `now`: nanoseconds. */
  set(notifier: EventNotifier, handler: EventHandler | null, now: number): void {
    const others: Watch[] = [];
    for (const watch of this.#watches) {
      if (watch.notifier === notifier) watch.removed = true;
      else others.push(watch);
    }
    if (handler !== null) {
      const lastEvent = now;
      others.push({ notifier, handler, polled: true, lastEvent, running: false, removed: false });
      this.#retireAt = Math.min(this.#retireAt, now + POLL_IDLE_NS);
    }
    this.#watches = others;
    this.#countPolled();
  }

  /** Handlers that take part in polling: while 0, busy waiting would see nothing. */
  get polled(): number {
    return this.#polled;
  }

  /** Serves every notifier that is set, and polls. True when there was work. */
  look(now: number): boolean {
    let progress = false;
    for (const watch of this.#watches) {
      if (watch.running || watch.removed || !this.#serve(watch)) continue;
      progress = true;
      watch.lastEvent = now;
      if (!watch.polled) {
        watch.polled = true;
        this.#countPolled();
      }
    }
    if (now >= this.#retireAt) this.#retire(now);
    return progress;
  }

  /**
   * The loop is about to sleep, and said so to those who ring: every handler asks to be told of new
   * work. True when there is some after all.
   */
  lastLook(): boolean {
    let work = false;
    for (const watch of this.#watches) {
      if (watch.running) continue;
      if (this.#askToBeTold(watch)) work = true;
      if (watch.notifier.isSet()) work = true;
    }
    return work;
  }

  #serve(watch: Watch): boolean {
    const { handler } = watch;
    watch.running = true;
    try {
      if (watch.notifier.testAndClear()) {
        handler.onRead();
        return true;
      }
      return watch.polled && handler.onPoll?.() === true;
    } catch (error) {
      this.#onError(error);
      return true;
    } finally {
      watch.running = false;
    }
  }

  #askToBeTold(watch: Watch): boolean {
    try {
      return watch.handler.onSleep?.() === true;
    } catch (error) {
      this.#onError(error);
      return false;
    }
  }

  /** Takes those out of polling that have been idle for long. */
  #retire(now: number): void {
    this.#retireAt = Infinity;
    for (const watch of this.#watches) {
      if (!watch.polled) continue;
      if (now - watch.lastEvent >= POLL_IDLE_NS) {
        watch.polled = watch.running || this.#askToBeTold(watch);
        if (!watch.polled) continue;
        // Work came before it asked to be told: polling finds it.
        watch.lastEvent = now;
      }
      this.#retireAt = Math.min(this.#retireAt, watch.lastEvent + POLL_IDLE_NS);
    }
    this.#countPolled();
  }

  #countPolled(): void {
    this.#polled = this.#watches.filter((watch) => watch.polled).length;
  }
}
