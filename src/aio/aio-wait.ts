// Those who wait until a condition of their context no longer holds (AIO_WAIT_WHILE). Conditions are
// looked at when somebody says that one may have changed (aio_wait_kick), in a bottom half, so that
// whoever kicks need not be ready for what the waiting go on to do.

import type { BottomHalf } from './aio-context.ts';

interface Waiting {
  readonly condition: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class AioWait {
  #waiting: Waiting[] = [];
  readonly #look: BottomHalf;

  constructor(newBottomHalf: (callback: () => void) => BottomHalf) {
    this.#look = newBottomHalf(() => this.#check());
  }

  /** Resolves when `condition`, which holds now, does not hold any more; rejects if it throws. */
  whileHolds(condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => this.#waiting.push({ condition, resolve, reject }));
  }

  /** A condition may be another. Costs nothing while nobody waits. */
  kick(): void {
    if (this.#waiting.length > 0) this.#look.schedule();
  }

  #check(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wait of waiting) {
      try {
        if (wait.condition()) this.#waiting.push(wait);
        else wait.resolve();
      } catch (error) {
        wait.reject(error);
      }
    }
  }
}
