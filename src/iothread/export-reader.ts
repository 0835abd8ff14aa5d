// The page's side of an export: asks for one chunk after the other, each handed over by the worker.

import type { JobCallOptions, JobCalls } from './job-calls.ts';

export class ExportReader {
  /** Of the image, bytes. */
  readonly length: number;
  readonly #calls: JobCalls;
  readonly #job: number;
  readonly #signal: AbortSignal | undefined;
  #endJob: (() => void) | undefined;

  /** Throws BlockError, or `signal.reason`. */
  static async begin(
    calls: JobCalls,
    nodeName: string,
    format: string,
    options: JobCallOptions,
  ): Promise<ExportReader> {
    const { job, end } = calls.begin(options);
    try {
      const length = await calls.call(() => calls.control.exportBegin(job, nodeName, format));
      return new ExportReader(calls, job, length, options.signal, end);
    } catch (error) {
      end();
      throw options.signal?.aborted === true ? options.signal.reason : error;
    }
  }

  private constructor(
    calls: JobCalls,
    job: number,
    length: number,
    signal: AbortSignal | undefined,
    endJob: () => void,
  ) {
    this.#calls = calls;
    this.#job = job;
    this.length = length;
    this.#signal = signal;
    this.#endJob = endJob;
  }

  /** The next bytes; undefined when there are no more. Throws BlockError, or `signal.reason`. */
  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      return await this.#calls.call(() => this.#calls.control.exportNext(this.#job));
    } catch (error) {
      throw this.#signal?.aborted === true ? this.#signal.reason : error;
    }
  }

  /** Lets go of the disk; a `next` under way rejects. Idempotent. */
  async end(): Promise<void> {
    if (this.#endJob === undefined) return;
    this.#endJob();
    this.#endJob = undefined;
    await this.#calls.call(() => this.#calls.control.jobCancel(this.#job));
    await this.#calls.call(() => this.#calls.control.exportEnd(this.#job));
  }
}
