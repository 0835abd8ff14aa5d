// A short busy wait for the next completion, which spares a trip through the host's event loop. It
// adapts: it doubles while it hits, halves while it misses, and when it has shrunk to nothing - the
// graph waits for a network, or both threads share a CPU - it only tries again now and then.

/** Longest wait, milliseconds. */
const MAX_MS = 0.2;
const MIN_MS = 0.0125;
const START_MS = 0.05;
/** Loads between two looks at the clock. */
const LOADS = 32;
/** Opportunities let pass before the next try, at first and at most. */
const SKIP = 16;
const MAX_SKIP = 1024;

export class CompletionPoll {
  /** Waits that found something, waits in vain, and times it did not wait. */
  hits = 0;
  misses = 0;
  skipped = 0;
  readonly #now: () => number;
  #budget = START_MS;
  #skip = 0;
  #backoff = SKIP;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** The next wait, milliseconds; 0 while it is off. */
  get budget(): number {
    return this.#skip > 0 ? 0 : this.#budget;
  }

  /** Waits for `due`, within the budget. Answers whether it came. */
  wait(due: () => boolean): boolean {
    if (due()) {
      // It was quicker than this thread: waiting may be worth it again soon.
      this.hits += 1;
      this.#skip >>= 1;
      return true;
    }
    if (this.#skip > 0) {
      this.#skip -= 1;
      this.skipped += 1;
      return false;
    }
    const start = this.#now();
    do {
      for (let i = 0; i < LOADS; i++) {
        if (due()) return this.#hit();
      }
    } while (this.#now() - start < this.#budget);
    this.#miss();
    return false;
  }

  #hit(): boolean {
    this.hits += 1;
    this.#budget = Math.min(2 * this.#budget, MAX_MS);
    this.#backoff = SKIP;
    return true;
  }

  #miss(): void {
    this.misses += 1;
    this.#budget /= 2;
    if (this.#budget >= MIN_MS) return;
    this.#budget = START_MS;
    this.#skip = this.#backoff;
    this.#backoff = Math.min(2 * this.#backoff, MAX_SKIP);
  }
}
