// Timers of one context, on its clock. They fire in the order of their deadlines, those of one
// deadline in the order they were armed. A run fires each of those due once, so a timer that arms
// itself anew cannot hold the loop; and a nested run never calls a callback that is running.

import { BinaryHeap } from '../base/binary-heap.ts';
import type { Timer } from './aio-context.ts';

class ContextTimer implements Timer {
  readonly callback: () => void;
  readonly #list: TimerList;
  /** Nanoseconds; Infinity while not armed. */
  expire: number = Infinity;
  /** What the heap is ordered by: the deadline, and the number of this arming. */
  due = 0;
  order = 0;
  heapIndex = -1;
  running = false;

  constructor(list: TimerList, callback: () => void) {
    this.#list = list;
    this.callback = callback;
  }
  get armed(): boolean {
    return this.expire !== Infinity;
  }
  mod(expire: number): void {
    this.#list.arm(this, expire);
  }
  del(): void {
    this.#list.disarm(this);
  }
}

export class TimerList {
  readonly #heap = new BinaryHeap<ContextTimer>(
    (a, b) => a.due < b.due || (a.due === b.due && a.order < b.order),
  );
  /** Armed timers, those too that wait for their own callback to return. */
  #armed = 0;
  #order = 0;
  /** Time of the last run. Armed for the past is armed for now: behind what is due already. */
  #ranAt = -Infinity;
  readonly #wake: () => void;
  readonly #onError: (error: unknown) => void;

  /**
   * `wake` is called when a timer is armed: a sleeping loop must reckon with it. `onError` hears what
   * a callback throws; the other timers fire all the same.
   */
  constructor(wake: () => void, onError: (error: unknown) => void) {
    this.#wake = wake;
    this.#onError = onError;
  }

  make(callback: () => void): Timer {
    return new ContextTimer(this, callback);
  }

  arm(timer: ContextTimer, expire: number): void {
    this.disarm(timer);
    if (expire === Infinity) return;
    this.#armed += 1;
    timer.expire = expire;
    timer.due = Math.max(expire, this.#ranAt);
    timer.order = ++this.#order;
    // One whose callback runs is queued when that returns.
    if (!timer.running) this.#heap.push(timer);
    this.#wake();
  }

  disarm(timer: ContextTimer): void {
    if (timer.expire === Infinity) return;
    this.#armed -= 1;
    timer.expire = Infinity;
    if (timer.heapIndex !== -1) this.#heap.remove(timer);
  }

  /** Timers armed now. */
  get armed(): number {
    return this.#armed;
  }

  /** When the next timer is due, nanoseconds; Infinity for never. */
  deadline(): number {
    return this.#heap.peek()?.due ?? Infinity;
  }

  /** Fires the timers that are due at `now`, each once; answers true when one was. */
  run(now: number): boolean {
    if (!(this.deadline() <= now)) return false;
    this.#ranAt = now;
    const last = this.#order;
    for (;;) {
      const timer = this.#heap.peek();
      if (timer === undefined || timer.due > now || timer.order > last) return true;
      this.disarm(timer);
      this.#fire(timer);
    }
  }

  #fire(timer: ContextTimer): void {
    timer.running = true;
    try {
      timer.callback();
    } catch (error) {
      this.#onError(error);
    }
    timer.running = false;
    if (timer.armed) this.#heap.push(timer);
  }
}
