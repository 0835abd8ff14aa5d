// What every job in the IOThread has: a signal that ends it, a pace, and progress told about ten
// times a second. A job throws `signal.reason` when it is aborted, and BlockError when it fails; either
// way it cleans up behind itself first.

import type { AioContext } from '../../aio/aio-context.ts';
import { Pace } from '../pace.ts';

/** How far a job is. */
export interface Progress {
  /** Bytes dealt with; never less than told before. */
  readonly done: number;
  /** Bytes in all; 0 while nobody knows. */
  readonly total: number;
}

/** What whoever orders a job may say. */
export interface JobOptions {
  /** Ends the job, which then rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
  /** Told about ten times a second, and once at the end. */
  readonly onProgress?: (progress: Progress) => void;
}

/** Between two reports, nanoseconds. */
const REPORT_NS = 100_000_000;

export class Job {
  /** Unique among the jobs of a thread; what its backends are named after. */
  readonly id: string;
  readonly context: AioContext;
  readonly signal: AbortSignal | undefined;
  readonly pace: Pace;
  readonly #onProgress: ((progress: Progress) => void) | undefined;
  #reported = -Infinity;

  constructor(id: string, context: AioContext, options: JobOptions = {}) {
    this.id = id;
    this.context = context;
    this.signal = options.signal;
    this.pace = new Pace(context, options.signal);
    this.#onProgress = options.onProgress;
  }

  /** Tells how far it is, unless it did so just now. */
  progress(done: number, total: number): void {
    if (this.#onProgress === undefined) return;
    const now = this.context.now();
    if (now - this.#reported < REPORT_NS) return;
    this.#reported = now;
    this.#onProgress({ done, total });
  }

  /** Tells that it is done, whenever the last report was. */
  finished(total: number): void {
    this.#onProgress?.({ done: total, total });
  }

  /**
   * `promise`, but not after the abort: whoever reads from a slow server can be left behind. What it
   * would have answered is dropped.
   */
  wait<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this;
    if (signal === undefined) return promise;
    return new Promise<T>((resolve, reject) => {
      const abort = (): void => reject(signal.reason as Error);
      const settled = (): void => signal.removeEventListener('abort', abort);
      signal.addEventListener('abort', abort, { once: true });
      promise.finally(settled).then(resolve, reject);
      if (signal.aborted) abort();
    });
  }
}
