// The jobs that the page ordered and that are not over: by number, so that the page can cancel one
// and hear of its progress by plain messages. Nothing of a job outlives its answer.

import { BlockError } from '../block/block-error.ts';
import type { Progress } from '../block/jobs/job.ts';
import type { WorkerMessage } from './control.ts';

/** A job that lasts until `end`. */
export interface BegunJob {
  readonly number: number;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
  readonly end: () => void;
}

interface Running {
  readonly controller: AbortController;
  readonly over: Promise<unknown>;
}

export class JobTable {
  readonly #post: (message: WorkerMessage) => void;
  readonly #running = new Map<number, Running>();

  constructor(post: (message: WorkerMessage) => void) {
    this.#post = post;
  }

  /** Begins job `number`, which lasts until `end`. */
  begin(number: number): BegunJob {
    const controller = new AbortController();
    let end = (): void => {};
    const over = new Promise<void>((resolve) => (end = resolve));
    this.#running.set(number, { controller, over });
    void over.then(() => this.#running.delete(number));
    return {
      number,
      signal: controller.signal,
      onProgress: (progress) => this.#post({ diskplane: 'progress', job: number, ...progress }),
      end,
    };
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
