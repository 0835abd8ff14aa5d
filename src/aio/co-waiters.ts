// Those who wait in line for a lock or a queue, the longest first. Whoever is woken leaves the line at
// that moment: an abort that comes later, even before the woken one runs, is too late and changes
// nothing. So a wake-up never goes to somebody who gave up.

interface Waiter<T> {
  readonly what: T;
  readonly resolve: () => void;
}

/** `T`: what a waiter waits for, where that matters. */
export class CoWaiters<T> {
  // In the order they came.
  readonly #waiters = new Set<Waiter<T>>();

  get size(): number {
    return this.#waiters.size;
  }

  /** What the first one waits for; undefined when there is nobody. */
  first(): T | undefined {
    for (const { what } of this.#waiters) return what;
    return undefined;
  }

  /**
   * Resolves when woken. Rejects with the signal's reason when aborted before; `gaveUp` is called then,
   * after the waiter left the line.
   */
  add(what: T, signal?: AbortSignal, gaveUp?: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const abort = (): void => {
        this.#waiters.delete(waiter);
        reject(signal!.reason as Error);
        gaveUp?.();
      };
      signal?.addEventListener('abort', abort, { once: true });
      const waiter: Waiter<T> = {
        what,
        resolve: () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        },
      };
      this.#waiters.add(waiter);
    });
  }

  /** Wakes the first one; false when there is nobody. */
  wake(): boolean {
    if (this.#waiters.size === 0) return false;
    for (const waiter of this.#waiters) {
      this.#waiters.delete(waiter);
      waiter.resolve();
      return true;
    }
    return false;
  }
}
