// The queue of bottom halves (aio_bh_poll). What is queued when a run begins is its slice; what its
// callbacks queue is left to the next. A callback may run the queue again (a nested poll): that run
// finishes the slices around it first, so the slices are one queue, and a run needs to know only
// where its own ends.

import { assert } from '../base/assert.ts';
import type { BottomHalf } from './aio-context.ts';

/** How long a loop may sleep on idle bottom halves, nanoseconds. */
export const IDLE_BOTTOM_HALF_NS = 10_000_000;

/** What a half waits for: nothing, any turn that comes, a turn of its own. */
const OFF = 0;
const IDLE = 1;
const SCHEDULED = 2;

class QueuedBottomHalf implements BottomHalf {
  readonly callback: () => void;
  readonly #queue: BottomHalves;
  state: number = OFF;
  deleted = false;
  /** A cancelled half stays in the queue, and keeps its place if it is scheduled again. */
  queued = false;
  next: QueuedBottomHalf | undefined = undefined;

  constructor(queue: BottomHalves, callback: () => void) {
    this.#queue = queue;
    this.callback = callback;
  }
  get scheduled(): boolean {
    return this.state !== OFF;
  }
  schedule(): void {
    this.#queue.schedule(this, SCHEDULED);
  }
  scheduleIdle(): void {
    this.#queue.schedule(this, IDLE);
  }
  cancel(): void {
    this.#queue.cancel(this);
  }
  delete(): void {
    this.cancel();
    this.deleted = true;
  }
}

export class BottomHalves {
  #head: QueuedBottomHalf | undefined;
  #tail: QueuedBottomHalf | undefined;
  /** Halves that ever entered the queue, and that ever left it. */
  #entered = 0;
  #left = 0;
  /** Halves in the queue by state. */
  readonly #count: [off: number, idle: number, scheduled: number] = [0, 0, 0];
  readonly #wake: () => void;
  readonly #onError: (error: unknown) => void;

  /**
   * `wake` is called with each newly scheduled half: the loop may be asleep on its own thread.
   * `onError` hears what a callback throws; the others run all the same.
   */
  constructor(wake: () => void, onError: (error: unknown) => void) {
    this.#wake = wake;
    this.#onError = onError;
  }

  make(callback: () => void): BottomHalf {
    return new QueuedBottomHalf(this, callback);
  }

  /** True when a turn is due; idle halves do not ask for one. */
  get pending(): boolean {
    return this.#count[SCHEDULED] > 0;
  }

  /** True when idle halves wait: the loop should not sleep for longer than IDLE_BOTTOM_HALF_NS. */
  get idle(): boolean {
    return this.#count[IDLE] > 0;
  }

  schedule(half: QueuedBottomHalf, state: typeof IDLE | typeof SCHEDULED): void {
    assert(!half.deleted, 'a deleted bottom half was scheduled');
    if (half.state >= state) return;
    if (half.state !== OFF) this.#count[IDLE] -= 1;
    half.state = state;
    this.#count[state] += 1;
    if (!half.queued) this.#enter(half);
    this.#wake();
  }

  cancel(half: QueuedBottomHalf): void {
    if (half.state === OFF) return;
    this.#count[half.state as typeof IDLE] -= 1;
    half.state = OFF;
  }

  /** Runs what is queued; answers true when there was progress, which idle halves are not. */
  run(): boolean {
    if (this.#head === undefined) return false;
    const end = this.#entered;
    let progress = false;
    while (this.#left < end) {
      const half = this.#leave();
      const { state } = half;
      if (state === OFF) continue;
      if (state === SCHEDULED) progress = true;
      this.cancel(half);
      try {
        half.callback();
      } catch (error) {
        this.#onError(error);
      }
    }
    return progress;
  }

  #enter(half: QueuedBottomHalf): void {
    half.queued = true;
    if (this.#tail === undefined) this.#head = half;
    else this.#tail.next = half;
    this.#tail = half;
    this.#entered += 1;
  }

  #leave(): QueuedBottomHalf {
    const half = this.#head!;
    this.#head = half.next;
    if (this.#head === undefined) this.#tail = undefined;
    half.next = undefined;
    half.queued = false;
    this.#left += 1;
    return half;
  }
}
