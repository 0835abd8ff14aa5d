// The queue of bottom halves. A turn runs those queued before it; what they queue runs next turn.

import type { BottomHalf } from './aio-context.ts';

class QueuedBottomHalf implements BottomHalf {
  readonly callback: () => void;
  readonly #queue: BottomHalves;
  pending = false;

  constructor(queue: BottomHalves, callback: () => void) {
    this.#queue = queue;
    this.callback = callback;
  }
  schedule(): void {
    if (this.pending) return;
    this.pending = true;
    this.#queue.enqueue(this);
  }
  cancel(): void {
    this.pending = false;
  }
}

export class BottomHalves {
  #queued: QueuedBottomHalf[] = [];
  #running: QueuedBottomHalf[] = [];
  readonly #wake: () => void;

  /** `wake` is called with each newly queued half: the loop may be asleep on its own thread. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  make(callback: () => void): BottomHalf {
    return new QueuedBottomHalf(this, callback);
  }

  enqueue(half: QueuedBottomHalf): void {
    this.#queued.push(half);
    this.#wake();
  }

  get pending(): boolean {
    return this.#queued.length > 0;
  }

  /** Runs what was queued; answers true when something ran. */
  run(): boolean {
    if (this.#queued.length === 0) return false;
    const slice = this.#queued;
    this.#queued = this.#running;
    this.#running = slice;
    let ran = false;
    for (const half of slice) {
      if (!half.pending) continue;
      half.pending = false;
      half.callback();
      ran = true;
    }
    slice.length = 0;
    return ran;
  }
}
