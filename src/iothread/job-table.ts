// The jobs that the page ordered and that are not over: by number, so that the page can cancel one
// and hear of its progress by plain messages. Nothing of a job outlives its answer.

import type { WorkerContext } from '../aio/worker-context.ts';
import { BlockError } from '../block/block-error.ts';
import { Job } from '../block/jobs/job.ts';
import type { WorkerMessage } from './control.ts';

interface Running {
  readonly controller: AbortController;
  readonly over: Promise<unknown>;
}

/** A job that lasts until `end`. */
export interface BegunJob {
  readonly job: Job;
  readonly end: () => void;
}

export class JobTable {
  readonly #context: WorkerContext;
  readonly #post: (message: WorkerMessage) => void;
  readonly #running = new Map<number, Running>();

  constructor(context: WorkerContext, post: (message: WorkerMessage) => void) {
    this.#context = context;
    this.#post = post;
  }

  /** Runs `body` as job `id`, until it settles. */
  async run<T>(id: number, body: (job: Job) => Promise<T>): Promise<T> {
    const { job, end } = this.begin(id);
    try {
      return await body(job);
    } finally {
      end();
    }
  }

  /** Begins job `id`, which lasts for more than one call, until `end`. */
  begin(id: number): BegunJob {
    const controller = new AbortController();
    let end = (): void => {};
    const over = new Promise<void>((resolve) => (end = resolve));
    this.#running.set(id, { controller, over });
    void over.then(() => this.#running.delete(id));
    const job = new Job(`job:${id}`, this.#context, {
      signal: controller.signal,
      onProgress: (progress) => this.#post({ diskplane: 'progress', job: id, ...progress }),
    });
    return { job, end };
  }

  /** Aborts job `id`, which cleans up and then rejects. Nothing for one that is over. */
  cancel(id: number): void {
    this.#running.get(id)?.controller.abort(canceled());
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
