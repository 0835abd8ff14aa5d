// How long a loop busy-waits before it sleeps: QEMU's adaptive polling (util/aio-posix.c). The
// budget grows while waiting a little longer would have caught the event, and shrinks when events
// come so late that polling only burns the CPU. Where two threads share a CPU, the event comes the
// later the longer one polls, and QEMU's rules alone would grow the budget again and again: so what
// shrank without one hit stays off for some waits, twice as many each time.

/** Nanoseconds. `grow`/`shrink` are factors; 0 means ×2 and "straight to zero". */
export interface PollSettings {
  readonly maxNs: number;
  readonly grow: number;
  readonly shrink: number;
}

/** QEMU's defaults: poll-max-ns 32768, grow and shrink 0. */
export const DEFAULT_POLL: PollSettings = { maxNs: 32768, grow: 0, shrink: 0 };

const START_NS = 4000;
/** Waits without polling, at most, before the budget may grow again. */
const MAX_BACKOFF = 64;

export class PollPolicy {
  #settings: PollSettings;
  #ns = 0;
  /** What the next shrinking costs in waits; 0 after a hit. */
  #backoff = 0;
  /** Waits until the budget may grow from zero. */
  #rest = 0;

  constructor(settings: PollSettings = DEFAULT_POLL) {
    this.#settings = settings;
  }

  /** The present budget. 0: do not poll. */
  get ns(): number {
    return this.#ns;
  }
  get settings(): PollSettings {
    return this.#settings;
  }
  set settings(settings: PollSettings) {
    this.#settings = settings;
    this.#ns = Math.min(this.#ns, settings.maxNs);
  }

  /** Learns from one wait: `blockNs` from its start to the event, polling and sleep together. */
  adapt(blockNs: number): void {
    const { maxNs, grow, shrink } = this.#settings;
    if (maxNs === 0) return;
    if (blockNs <= this.#ns) {
      this.#backoff = 0;
      return;
    }
    if (blockNs > maxNs) {
      if (this.#ns > 0) this.#shrink(shrink);
      return;
    }
    if (this.#ns === 0 && this.#rest > 0) {
      this.#rest -= 1;
      return;
    }
    this.#ns = this.#ns === 0 ? START_NS : this.#ns * (grow === 0 ? 2 : grow);
    this.#ns = Math.min(this.#ns, maxNs);
  }

  #shrink(factor: number): void {
    this.#ns = factor === 0 ? 0 : Math.floor(this.#ns / factor);
    this.#rest = this.#backoff;
    this.#backoff = Math.min(Math.max(2 * this.#backoff, 1), MAX_BACKOFF);
  }
}
