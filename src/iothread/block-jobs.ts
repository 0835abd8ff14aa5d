// The jobs that a page can order from an IOThread. A signal ends them there, and they clean up before
// they reject; progress comes about ten times a second.

import { transfer } from 'comlink';
import type { CheckResult } from '../block/block-driver.ts';
import type { JobOptions } from '../block/jobs/job.ts';
import type { BlockdevOptions, MapEntry } from './control.ts';
import { ExportReader } from './export-reader.ts';
import type { JobCalls } from './job-calls.ts';

/** A new image that takes chunks; made by `BlockJobs.import`. */
export interface ImportSink {
  /** Takes the bytes that come next, and their buffer; resolves when they are written. */
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
}

export class BlockJobs {
  readonly #calls: JobCalls;

  constructor(calls: JobCalls) {
    this.#calls = calls;
  }

  /** Checks the metadata of `nodeName` and repairs what `fix` says. */
  check(
    nodeName: string,
    fix: 'none' | 'leaks' | 'all',
    options: JobOptions = {},
  ): Promise<CheckResult> {
    return this.#calls.run((job, control) => control.blockCheck(job, nodeName, fix), options);
  }

  /** Which layer of `nodeName` holds what, from `offset` on; to its end by default. */
  map(
    nodeName: string,
    offset: number,
    bytes: number | undefined,
    options: JobOptions = {},
  ): Promise<readonly MapEntry[]> {
    return this.#calls.run(
      (job, control) => control.blockMap(job, nodeName, offset, bytes),
      options,
    );
  }

  /** Throws away what was written to `nodeName` over its backing image. */
  reset(nodeName: string, options: JobOptions = {}): Promise<void> {
    return this.#calls.run((job, control) => control.blockReset(job, nodeName), options);
  }

  /** Puts what was written to `nodeName` into its backing image, and empties it. */
  commit(nodeName: string, options: JobOptions = {}): Promise<void> {
    return this.#calls.run((job, control) => control.blockCommit(job, nodeName), options);
  }

  /** The same for all disks; see `IOThread.commitAll`. */
  commitAll(options: JobOptions = {}): Promise<readonly string[]> {
    return this.#calls.run((job, control) => control.blockCommitAll(job), options);
  }

  /** Copies the disk of `nodeName` into the new image that `target` describes. */
  convert(nodeName: string, target: BlockdevOptions, options: JobOptions = {}): Promise<void> {
    return this.#calls.run((job, control) => control.blockConvert(job, nodeName, target), options);
  }

  /** Begins to read the disk of `nodeName` as an image of `format`; the caller ends it. */
  export(nodeName: string, format: string, options: JobOptions = {}): Promise<ExportReader> {
    return ExportReader.begin(this.#calls, nodeName, format, options);
  }

  /** Copies `blob`, which the worker reads by itself, into the new image that `target` describes. */
  importBlob(blob: Blob, target: BlockdevOptions, options: JobOptions = {}): Promise<void> {
    return this.#calls.run((job, control) => control.importBlob(job, blob, target), options);
  }

  /**
   * Makes the image that `target` describes and has `feed` fill it; `size` is what will come, bytes,
   * where that is known. The image is whole when this resolves; when it rejects there is none.
   */
  import(
    target: BlockdevOptions,
    size: number | undefined,
    feed: (sink: ImportSink) => Promise<void>,
    options: JobOptions = {},
  ): Promise<void> {
    return this.#calls.run(async (job, control) => {
      await control.importBegin(job, target, size);
      try {
        await feed({
          write: (bytes) => control.importWrite(job, transfer(bytes, [bytes.buffer])),
        });
      } catch (error) {
        await control.jobCancel(job);
        await control.importEnd(job).catch(() => {});
        throw error;
      }
      await control.importEnd(job);
    }, options);
  }
}
