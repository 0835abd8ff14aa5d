// The page's side of jobs: numbers them, cancels one when its signal aborts, and hands their progress
// to who ordered them. Plain messages by number, so that nothing is left to be released afterwards.

import type { Progress } from '../block/jobs/job.ts';

export interface JobCallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: Progress) => void;
}

export class JobCalls {
  readonly #listeners = new Map<number, (progress: Progress) => void>();
  readonly #cancel: (job: number) => void;
  #last = 0;

  /** `cancel` tells the worker to end a job. */
  constructor(cancel: (job: number) => void) {
    this.#cancel = cancel;
  }

  /**
   * Runs `start` as a job that `signal` ends in the worker. It is over only when the worker has cleaned
   * up behind it: whoever hears of the end may try the same again. Rejects with `signal.reason` then.
   */
  async run<T>(start: (job: number) => Promise<T>, options: JobCallOptions): Promise<T> {
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const job = (this.#last += 1);
    const cancel = (): void => this.#cancel(job);
    if (onProgress !== undefined) this.#listeners.set(job, onProgress);
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await start(job);
    } catch (error) {
      throw signal?.aborted === true ? signal.reason : error;
    } finally {
      signal?.removeEventListener('abort', cancel);
      this.#listeners.delete(job);
    }
  }

  /** The worker told how far a job is. */
  progress({ job, done, total }: Progress & { readonly job: number }): void {
    this.#listeners.get(job)?.({ done, total });
  }
}
