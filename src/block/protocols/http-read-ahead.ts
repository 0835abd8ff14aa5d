// Says when a read continues an earlier one, and what to fetch ahead of it. It watches a few streams
// at once, since a guest reads several files in turn. Random access never matches, and costs a few
// comparisons.

const STREAMS = 4;

export class ReadAhead {
  /** After `note` answered true: what to fetch, bytes, end exclusive. */
  from = 0;
  to = 0;
  /** How far ahead, bytes; 0 switches it off. */
  readonly #window: number;
  /** A read this far after the last one still continues it, bytes. */
  readonly #gap: number;
  /** Per stream: where its last read ended, and how far was fetched. */
  readonly #ends = new Float64Array(STREAMS).fill(-1);
  readonly #fetched = new Float64Array(STREAMS);
  #victim = 0;

  constructor(window: number, gap: number) {
    this.#window = window;
    this.#gap = gap;
  }

  /** Takes note of a read. True when `[from, to)` should be fetched now. */
  note(offset: number, bytes: number): boolean {
    if (this.#window === 0) return false;
    const end = offset + bytes;
    for (let i = 0; i < STREAMS; i++) {
      const last = this.#ends[i]!;
      if (last < 0 || offset < last || offset > last + this.#gap) continue;
      this.#ends[i] = end;
      const fetched = Math.max(this.#fetched[i]!, end);
      this.#fetched[i] = fetched;
      // Half a window at a time, so that requests are large and the next is under way in time.
      if (fetched - end > this.#window / 2) return false;
      this.from = fetched;
      this.to = end + this.#window;
      this.#fetched[i] = this.to;
      return true;
    }
    this.#ends[this.#victim] = end;
    this.#fetched[this.#victim] = end;
    this.#victim = (this.#victim + 1) % STREAMS;
    return false;
  }
}
