// A lock that many may share or one may have alone (QEMU's CoRwlock). It is fair: those who come wait
// behind those who wait already, so a writer waits for the readers before it and not for those after.

import { assert } from '../base/assert.ts';
import { CoWaiters } from './co-waiters.ts';
import { whileHeld } from './while-held.ts';

type Mode = 'read' | 'write';

export class CoRwlock {
  /** Holders: readers, or -1 for a writer. */
  #holders = 0;
  readonly #waiters = new CoWaiters<Mode>();

  /** Takes the lock for reading: at once, answering undefined, or when the promise resolves. */
  rdlock(signal?: AbortSignal): Promise<void> | undefined {
    return this.#lock('read', signal);
  }

  /** Takes the lock for writing. As `rdlock`. */
  wrlock(signal?: AbortSignal): Promise<void> | undefined {
    return this.#lock('write', signal);
  }

  /** Lets go of the lock, however it was taken. */
  unlock(): void {
    assert(this.#holders !== 0, 'a lock was unlocked that nobody holds');
    this.#holders = this.#holders < 0 ? 0 : this.#holders - 1;
    this.#admit();
  }

  /** As `CoMutex.withLock`, for reading. */
  withRdlock<T>(body: () => T | Promise<T>, signal?: AbortSignal): T | Promise<T> {
    return whileHeld(this.rdlock(signal), body, () => this.unlock());
  }

  /** As `CoMutex.withLock`, for writing. */
  withWrlock<T>(body: () => T | Promise<T>, signal?: AbortSignal): T | Promise<T> {
    return whileHeld(this.wrlock(signal), body, () => this.unlock());
  }

  #lock(mode: Mode, signal: AbortSignal | undefined): Promise<void> | undefined {
    // One that gives up may have been all that stood in the way of those behind it.
    if (this.#waiters.size > 0 || !this.#fits(mode)) {
      return this.#waiters.add(mode, signal, () => this.#admit());
    }
    this.#enter(mode);
    return undefined;
  }

  #fits(mode: Mode): boolean {
    return mode === 'read' ? this.#holders >= 0 : this.#holders === 0;
  }

  #enter(mode: Mode): void {
    this.#holders = mode === 'read' ? this.#holders + 1 : -1;
  }

  #admit(): void {
    for (;;) {
      const mode = this.#waiters.first();
      if (mode === undefined || !this.#fits(mode)) return;
      this.#enter(mode);
      this.#waiters.wake();
    }
  }
}
