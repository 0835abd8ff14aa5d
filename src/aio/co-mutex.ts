// A mutex for what runs in several steps on one thread (QEMU's CoMutex). It is fair: `unlock` hands
// it to the one that waited longest, so nobody who comes in between gets ahead. While nobody holds it,
// taking it costs no promise.

import { assert } from '../base/assert.ts';
import { CoWaiters } from './co-waiters.ts';
import { whileHeld } from './while-held.ts';

export class CoMutex {
  #locked = false;
  readonly #waiters = new CoWaiters<void>();

  get locked(): boolean {
    return this.#locked;
  }

  /**
   * Takes the mutex: at once, answering undefined, or when the promise resolves. It rejects, without
   * the mutex, when `signal` aborts before.
   */
  lock(signal?: AbortSignal): Promise<void> | undefined {
    if (this.#locked) return this.#waiters.add(undefined, signal);
    this.#locked = true;
    return undefined;
  }

  /** Hands the mutex on. */
  unlock(): void {
    assert(this.#locked, 'a mutex was unlocked that nobody holds');
    // It stays locked where it changes hands.
    if (!this.#waiters.wake()) this.#locked = false;
  }

  /**
   * Runs `body` with the mutex, and lets go when it is over, also when it fails. Answers at once where
   * nobody holds the mutex and `body` does not answer with a promise.
   */
  withLock<T>(body: () => T | Promise<T>, signal?: AbortSignal): T | Promise<T> {
    return whileHeld(this.lock(signal), body, () => this.unlock());
  }
}
