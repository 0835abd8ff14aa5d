// Timers of one context, on its clock. Few at a time, so a plain list is the quickest structure.

import type { Timer } from './aio-context.ts';

class ContextTimer implements Timer {
  readonly callback: () => void;
  readonly #list: TimerList;
  /** Nanoseconds; Infinity while not armed. */
  expire: number = Infinity;

  constructor(list: TimerList, callback: () => void) {
    this.#list = list;
    this.callback = callback;
  }
  get armed(): boolean {
    return this.expire !== Infinity;
  }
  mod(expire: number): void {
    this.expire = expire;
    this.#list.add(this);
  }
  del(): void {
    this.expire = Infinity;
    this.#list.remove(this);
  }
}

export class TimerList {
  readonly #armed = new Set<ContextTimer>();
  readonly #wake: () => void;

  /** `wake` is called when a timer is armed: a sleeping loop must reckon with it. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  make(callback: () => void): Timer {
    return new ContextTimer(this, callback);
  }

  add(timer: ContextTimer): void {
    this.#armed.add(timer);
    this.#wake();
  }
  remove(timer: ContextTimer): void {
    this.#armed.delete(timer);
  }

  get empty(): boolean {
    return this.#armed.size === 0;
  }

  /** When the next timer is due, nanoseconds; Infinity for never. */
  deadline(): number {
    let first = Infinity;
    for (const timer of this.#armed) first = Math.min(first, timer.expire);
    return first;
  }

  /** Runs the timers due at `now`; answers true when one ran. */
  run(now: number): boolean {
    let ran = false;
    for (const timer of [...this.#armed]) {
      if (timer.expire > now) continue;
      timer.del();
      timer.callback();
      ran = true;
    }
    return ran;
  }
}
