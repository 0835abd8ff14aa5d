// What takes long on a disk: jobs that end by themselves, by their caller's signal, or with the disk.

import type { JobOptions } from './block/jobs/job.ts';

/** The options of a job that was started: its signal is the caller's, and the disk's end. */
export type StartedJob = JobOptions & { readonly signal: AbortSignal };

export class DiskJobs {
  readonly #life = new AbortController();
  readonly #running = new Set<Promise<void>>();

  /** Runs `start`; it ends early when its caller or `close` says so. */
  async run<T>(options: JobOptions, start: (options: StartedJob) => Promise<T>): Promise<T> {
    const { job, end } = this.begin(options);
    try {
      return await start(job);
    } finally {
      end();
    }
  }

  /** Begins what says itself when it is over, by `end`. */
  begin(options: JobOptions): { readonly job: StartedJob; readonly end: () => void } {
    const life = this.#life.signal;
    const signal = options.signal === undefined ? life : AbortSignal.any([options.signal, life]);
    let end = (): void => {};
    const running = new Promise<void>((resolve) => (end = resolve));
    this.#running.add(running);
    void running.then(() => this.#running.delete(running));
    return { job: { ...options, signal }, end };
  }

  /** Ends all jobs with `reason`; resolves when they have cleaned up. */
  async close(reason: Error): Promise<void> {
    this.#life.abort(reason);
    await Promise.all(this.#running);
  }
}
