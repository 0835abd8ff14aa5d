// Random offsets of 4 KiB blocks, the same for us and for the baseline: xorshift32, since the host's
// own random numbers cost as much as a request may.

/** Bytes of one read, and what its offset is a multiple of. */
export const READ_BYTES = 4096;

export class RandomBlocks {
  readonly #blocks: number;
  #state = 0x9e3779b9;

  /** Offsets lie in `[0, bytes)`. */
  constructor(bytes: number) {
    this.#blocks = Math.floor(bytes / READ_BYTES);
  }

  /** The next offset, bytes. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return ((x >>> 0) % this.#blocks) * READ_BYTES;
  }
}
