// A short busy wait for the next completion, at the end of a notification. Where the IOThread answers
// within it, the guest goes on with its data at hand: it neither goes to sleep nor is woken, which would
// cost it a few thousand instructions, and nobody waits for a trip through the host's event loop. While
// that does not work - the graph waits for a network, or both threads share a CPU - it is tried less
// and less often.

/** Longest wait, milliseconds: what the guest's sleep costs it, and a slow wake-up of the IOThread. */
const MAX_MS = 0.2;
/** Loads between two looks at the clock. */
const LOADS = 32;
/** Opportunities let pass before the next try, at most. */
const MAX_SKIP = 64;

export class CompletionPoll {
  /** Waits that found something, waits in vain, and times it did not wait. */
  hits = 0;
  misses = 0;
  skipped = 0;
  readonly #now: () => number;
  #skip = 0;
  /** What the next wait in vain costs in opportunities. */
  #backoff = 0;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Waits for `due`, 200 µs at most. Answers whether it came. */
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
        if (!due()) continue;
        this.hits += 1;
        this.#backoff = 0;
        return true;
      }
    } while (this.#now() - start < MAX_MS);
    this.misses += 1;
    this.#skip = this.#backoff;
    this.#backoff = Math.min(Math.max(2 * this.#backoff, 1), MAX_SKIP);
    return false;
  }
}
