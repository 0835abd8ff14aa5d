// The jobs that the page ordered and that are not over: by number, so that the page can cancel one
// and hear of its progress by plain messages. Nothing of a job outlives its answer.

import { BlockError } from '../block/block-error.ts';
import type { Progress } from '../block/jobs/job.ts';
import type { WorkerMessage } from './control.ts';

/** A job that lasts until `end`. */
export interface BegunJob {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
  readonly end: () => void;
}

interface Running extends BegunJob {
  readonly controller: AbortController;
  readonly over: Promise<unknown>;
}

export class JobTable {
  readonly #post: (message: WorkerMessage) => void;
  readonly #running = new Map<number, Running>();

  constructor(post: (message: WorkerMessage) => void) {
    this.#post = post;
  }

  /** Job `number`, which begins now unless it did before; it lasts until `end`. */
  begin(number: number): BegunJob {
    const begun = this.#running.get(number);
    if (begun !== undefined) return begun;
    const controller = new AbortController();
    let end = (): void => {};
    const over = new Promise<void>((resolve) => (end = resolve));
    void over.then(() => this.#running.delete(number));
    const job: Running = {
      signal: controller.signal,
      onProgress: (progress) => this.#post({ diskplane: 'progress', job: number, ...progress }),
      end,
      controller,
      over,
    };
    this.#running.set(number, job);
    return job;
  }

  /** Aborts a job, which cleans up and then rejects. Nothing for one that is over. */
  cancel(number: number): void {
    this.#running.get(number)?.controller.abort(canceled());
  }

  /** Resolves when all jobs have ended, which it makes them do soon. */
  async cancelAll(): Promise<void> {
    const running = [...this.#running.values()];
    for (const { controller } of running) controller.abort(canceled());
    await Promise.all(running.map(({ over }) => over));
  }
}

function canceled(): BlockError {
  return new BlockError('ECANCELED', 'the job was canceled');
}
