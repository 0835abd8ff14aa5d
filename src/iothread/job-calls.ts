// The page's side of jobs: numbers them, cancels one when its signal aborts, and hands their progress
// to who ordered them. Plain messages by number, so that nothing is left to be released afterwards.

import type { Remote } from 'comlink';
import type { Progress } from '../block/jobs/job.ts';
import type { IOThreadControl } from './control.ts';

export interface JobCallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: Progress) => void;
}

/** A control call that also ends when the thread does. */
export type ControlCall = <T>(start: () => Promise<T>) => Promise<T>;

export class JobCalls {
  readonly control: Remote<IOThreadControl>;
  readonly call: ControlCall;
  readonly #listeners = new Map<number, (progress: Progress) => void>();
  #last = 0;

  constructor(control: Remote<IOThreadControl>, call: ControlCall) {
    this.control = control;
    this.call = call;
  }

  /**
   * Runs `start` as a job that `signal` ends in the worker. It is over only when the worker has cleaned
   * up behind it: whoever hears of the end may try the same again. Rejects with `signal.reason` then.
   */
  async run<T>(
    start: (job: number, control: Remote<IOThreadControl>) => Promise<T>,
    options: JobCallOptions,
  ): Promise<T> {
    const { job, end } = this.begin(options);
    try {
      return await this.call(() => start(job, this.control));
    } catch (error) {
      throw options.signal?.aborted === true ? options.signal.reason : error;
    } finally {
      end();
    }
  }

  /** Numbers a job of several calls, which lasts until `end`. Throws `signal.reason`. */
  begin({ signal, onProgress }: JobCallOptions): {
    readonly job: number;
    readonly end: () => void;
  } {
    signal?.throwIfAborted();
    const job = (this.#last += 1);
    void this.control.jobBegin(job).catch(() => {});
    const cancel = (): void => void this.control.jobCancel(job).catch(() => {});
    if (onProgress !== undefined) this.#listeners.set(job, onProgress);
    signal?.addEventListener('abort', cancel, { once: true });
    const end = (): void => {
      signal?.removeEventListener('abort', cancel);
      this.#listeners.delete(job);
    };
    return { job, end };
  }

  /** The worker told how far a job is. */
  progress({ job, done, total }: Progress & { readonly job: number }): void {
    this.#listeners.get(job)?.({ done, total });
  }
}
