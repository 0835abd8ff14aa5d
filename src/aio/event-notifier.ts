// A doorbell in shared memory (QEMU's EventNotifier): one word that says "rung", and the sleeping
// loop behind it. Ringing costs a store, and a futex wake only where the loop is asleep. Over memory
// that is not shared it is a flag for the same thread, and `AioContext.notify` wakes the loop.

/** The words of a loop's doorbell, in the Int32Array that the loop sleeps on. */
export const DOORBELL_SEQ = 0;
export const DOORBELL_SLEEPING = 1;
/** Control messages posted to the loop's thread, and received there; unequal means "yield". */
export const DOORBELL_POSTED = 2;
export const DOORBELL_RECEIVED = 3;
export const DOORBELL_WORDS = 16;

/** Wakes the loop that sleeps on `doorbell`, if it sleeps. Any thread. */
export function ringDoorbell(doorbell: Int32Array): void {
  if (Atomics.load(doorbell, DOORBELL_SLEEPING) === 0) return;
  Atomics.add(doorbell, DOORBELL_SEQ, 1);
  Atomics.notify(doorbell, DOORBELL_SEQ);
}

/** Setting it twice before it is read counts once. */
export class EventNotifier {
  readonly #words: Int32Array;
  readonly #index: number;
  readonly #doorbell: Int32Array;

  /** `words[index]` is the flag; `doorbell` belongs to the loop that watches it. */
  constructor(words: Int32Array, index: number, doorbell: Int32Array) {
    this.#words = words;
    this.#index = index;
    this.#doorbell = doorbell;
  }

  /** Rings: a store, and a wake if the watching loop sleeps. Any thread. */
  set(): void {
    Atomics.store(this.#words, this.#index, 1);
    ringDoorbell(this.#doorbell);
  }

  /** True when it is set; leaves it so. Watching thread only. */
  isSet(): boolean {
    return Atomics.load(this.#words, this.#index) !== 0;
  }

  /** True when it was set since the last call. Watching thread only. */
  testAndClear(): boolean {
    if (Atomics.load(this.#words, this.#index) === 0) return false;
    return Atomics.exchange(this.#words, this.#index, 0) !== 0;
  }
}
