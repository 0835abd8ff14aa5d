// How long a loop busy-waits before it sleeps: QEMU's adaptive polling (util/aio-posix.c). The
// budget grows while waiting a little longer would have caught the event, and shrinks when events
// come so late that polling only burns the CPU, which also turns it off where two threads share one.

/** Nanoseconds. `grow`/`shrink` are factors; 0 means ×2 and "straight to zero". */
export interface PollSettings {
  readonly maxNs: number;
  readonly grow: number;
  readonly shrink: number;
}

/** QEMU's defaults: poll-max-ns 32768, grow and shrink 0. */
export const DEFAULT_POLL: PollSettings = { maxNs: 32768, grow: 0, shrink: 0 };

const START_NS = 4000;

export class PollPolicy {
  #settings: PollSettings;
  #ns = 0;

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
    if (maxNs === 0 || blockNs <= this.#ns) return;
    if (blockNs > maxNs) {
      this.#ns = shrink === 0 ? 0 : Math.floor(this.#ns / shrink);
      return;
    }
    this.#ns = this.#ns === 0 ? START_NS : this.#ns * (grow === 0 ? 2 : grow);
    this.#ns = Math.min(this.#ns, maxNs);
  }
}
