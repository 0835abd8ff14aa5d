// A condition that several wait for (QEMU's CoQueue). Waiting lets go of a mutex and takes it back
// before going on, so nothing can happen between looking at the state and waiting for another one.

import type { CoMutex } from './co-mutex.ts';
import { CoWaiters } from './co-waiters.ts';

export class CoQueue {
  readonly #waiters = new CoWaiters<void>();

  get empty(): boolean {
    return this.#waiters.size === 0;
  }

  /**
   * Resolves when woken. Rejects with the signal's reason when aborted before. `mutex`, which the
   * caller holds, is free meanwhile; the caller holds it again in either case.
   */
  wait(mutex?: CoMutex, signal?: AbortSignal): Promise<void> {
    const woken = this.#waiters.add(undefined, signal);
    return mutex === undefined ? woken : this.#withoutMutex(woken, mutex);
  }

  /** Wakes the one that waits longest; false when nobody does. */
  next(): boolean {
    return this.#waiters.wake();
  }

  /** Wakes all that wait now, in their order. */
  all(): void {
    while (this.#waiters.wake());
  }

  async #withoutMutex(woken: Promise<void>, mutex: CoMutex): Promise<void> {
    mutex.unlock();
    try {
      await woken;
    } finally {
      await mutex.lock();
    }
  }
}
