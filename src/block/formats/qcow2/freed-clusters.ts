// Clusters that no table in memory points to any more, but perhaps one on disk does. Their
// refcounts go down, and they may be used again, only when the tables on disk have let go of them
// and every request that may still be reading or writing them has ended.

/** A run of host clusters to let go of. */
export interface FreedRun {
  readonly host: number;
  readonly bytes: number;
}

interface Run {
  host: number;
  bytes: number;
  readonly epoch: number;
  /** The tables that let go of it were written; a flush of the file makes that durable. */
  written: boolean;
}

export class FreedClusters {
  /** Bytes waiting. */
  bytes = 0;
  #runs: Run[] = [];
  #epoch = 0;
  /** Asynchronous requests in flight, by the epoch they began in. */
  readonly #inFlight = new Map<number, number>();

  get runs(): number {
    return this.#runs.length;
  }

  /** Takes the run over; a neighbour of the last one joins it. */
  add(host: number, bytes: number): void {
    this.bytes += bytes;
    const last = this.#runs[this.#runs.length - 1];
    if (last !== undefined && last.epoch === this.#epoch && !last.written) {
      if (last.host + last.bytes === host) {
        last.bytes += bytes;
        return;
      }
      if (host + bytes === last.host) {
        last.host = host;
        last.bytes += bytes;
        return;
      }
    }
    this.#runs.push({ host, bytes, epoch: this.#epoch, written: false });
  }

  /** Forgets all runs: tables that know nothing of them count in their place. Nothing is in flight. */
  clear(): void {
    this.#runs = [];
    this.bytes = 0;
  }

  /** The tables as they are in memory were written to the file. */
  tablesWritten(): void {
    for (const run of this.#runs) run.written = true;
    if (this.#runs.length > 0) this.#epoch += 1;
  }

  /**
   * To be called after a flush of the file: takes out the runs that nothing can reach any more.
   * `anyway`: the node is drained, so nothing is in flight.
   */
  takeDurable(anyway: boolean): FreedRun[] {
    if (this.#runs.length === 0) return [];
    const oldest = anyway ? Infinity : Math.min(Infinity, ...this.#inFlight.keys());
    const ready = this.#runs.filter((run) => run.written && run.epoch < oldest);
    if (ready.length === 0) return [];
    this.#runs = this.#runs.filter((run) => !(run.written && run.epoch < oldest));
    for (const run of ready) this.bytes -= run.bytes;
    return ready;
  }

  /** Counts a request that did not answer at once and may touch the file. */
  track<T>(promise: Promise<T>): Promise<T> {
    const epoch = this.#epoch;
    this.#inFlight.set(epoch, (this.#inFlight.get(epoch) ?? 0) + 1);
    return promise.then((value) => {
      const left = this.#inFlight.get(epoch)! - 1;
      if (left === 0) this.#inFlight.delete(epoch);
      else this.#inFlight.set(epoch, left);
      return value;
    });
  }
}
