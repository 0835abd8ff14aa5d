// What takes long on a disk: jobs that end by themselves, by their caller's signal, or with the disk.

import type { JobOptions } from './block/jobs/job.ts';

/** The options of a job that was started: its signal is the caller's, and the disk's end. */
export type StartedJob = JobOptions & { readonly signal: AbortSignal };

export class DiskJobs {
  readonly #life = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  /** Runs `start`; it ends early when its caller or `close` says so. */
  async run<T>(options: JobOptions, start: (options: StartedJob) => Promise<T>): Promise<T> {
    const life = this.#life.signal;
    const signal = options.signal === undefined ? life : AbortSignal.any([options.signal, life]);
    const job = start({ ...options, signal });
    this.#running.add(job);
    try {
      return await job;
    } finally {
      this.#running.delete(job);
    }
  }

  /** Ends all jobs with `reason`; resolves when they have cleaned up. */
  async close(reason: Error): Promise<void> {
    this.#life.abort(reason);
    await Promise.allSettled(this.#running);
  }
}
