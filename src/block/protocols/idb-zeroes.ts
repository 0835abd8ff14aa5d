// Records that read as zeroes and are still to be deleted: a few ranges, so that a discard of a
// terabyte costs as little as one of a record. A transaction deletes before it stores, so what is
// written into a range later simply comes after.

/** From record `first` to `last`, both included. */
export interface RecordRange {
  readonly first: number;
  readonly last: number;
}

/** Ranges at most; whoever wants one more has these deleted first. */
const MAX_RANGES = 64;

export class IdbZeroes {
  #ranges: readonly RecordRange[] = [];
  /** Those that a transaction under way deletes. */
  #deleting: readonly RecordRange[] = [];

  get empty(): boolean {
    return this.#ranges.length === 0;
  }

  get full(): boolean {
    return this.#ranges.length >= MAX_RANGES;
  }

  covers(record: number): boolean {
    for (const range of this.#ranges) {
      if (record >= range.first && record <= range.last) return true;
    }
    return false;
  }

  /**
   * The range is deleted before anything that is stored from now on. A range being deleted is not
   * grown: the transaction may store new records inside it, which must not be deleted once more.
   */
  add(first: number, last: number): void {
    const apart: RecordRange[] = [];
    let merged = { first, last };
    for (const range of this.#ranges) {
      const touches = range.last >= merged.first - 1 && range.first <= merged.last + 1;
      if (!touches || this.#deleting.includes(range)) apart.push(range);
      else {
        merged = {
          first: Math.min(merged.first, range.first),
          last: Math.max(merged.last, range.last),
        };
      }
    }
    this.#ranges = [...apart, merged];
  }

  /** What a transaction that starts now has to delete. */
  begin(): readonly RecordRange[] {
    this.#deleting = this.#ranges;
    return this.#ranges;
  }

  /** The transaction of the last `begin` is over. */
  end(complete: boolean): void {
    if (complete) this.#ranges = this.#ranges.filter((range) => !this.#deleting.includes(range));
    this.#deleting = [];
  }
}
