// How long a loop busy-waits before it sleeps: QEMU's adaptive polling (util/aio-posix.c), for events
// that an emulated guest sends. The budget grows while waiting longer would have caught the event. Events
// come at uneven intervals, so one that is late says nothing; some in a row that polling did not
// catch end it - the thread is idle, or shares its CPU with the guest, which cannot send anything while
// the loop polls. After that it rests for some waits, twice as many each time until it hits again.

/** Nanoseconds. `grow`/`shrink` are factors; 0 means "to twice what was needed" and "straight to zero". */
export interface PollSettings {
  readonly maxNs: number;
  readonly grow: number;
  readonly shrink: number;
}

/** QEMU polls for 32,768 ns at most; an emulated guest takes ten times as long from request to request. */
export const DEFAULT_POLL: PollSettings = { maxNs: 500_000, grow: 0, shrink: 0 };

const START_NS = 4000;
/** Polls in vain, one after the other, before the budget shrinks. */
const PATIENCE = 4;
/** Waits without polling, at most, before the budget may grow again. */
const MAX_BACKOFF = 256;

export class PollPolicy {
  #settings: PollSettings;
  #ns = 0;
  /** Polls in vain since the last hit. */
  #vain = 0;
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
    if (this.#settings.maxNs === 0) return;
    if (this.#ns > 0) {
      if (blockNs <= this.#ns) {
        this.#vain = this.#backoff = 0;
        return;
      }
      this.#vain += 1;
      if (this.#vain >= PATIENCE) return this.#shrink();
    } else if (this.#rest > 0) {
      this.#rest -= 1;
      return;
    }
    if (blockNs <= this.#settings.maxNs) this.#grow(blockNs);
  }

  #grow(blockNs: number): void {
    const { maxNs, grow } = this.#settings;
    const wanted = grow === 0 ? Math.max(2 * blockNs, START_NS) : this.#ns * grow || START_NS;
    this.#ns = Math.min(wanted, maxNs);
  }

  #shrink(): void {
    const { shrink } = this.#settings;
    this.#ns = shrink === 0 ? 0 : Math.floor(this.#ns / shrink);
    this.#vain = 0;
    this.#rest = this.#backoff;
    this.#backoff = Math.min(Math.max(2 * this.#backoff, 1), MAX_BACKOFF);
  }
}
