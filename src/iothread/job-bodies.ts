// What the jobs of the control interface do, loaded with the first of them. They have begun by then, so
// that `jobCancel` finds them. Exports and imports last for more calls than one.

import type { CheckResult } from '../block/block-driver.ts';
import type { Graph } from '../block/graph.ts';
import { Job } from '../block/jobs/job.ts';
import { skipFilters } from '../block/skip-filters.ts';
import type { BlockdevOptions, IOThreadControl, JobCall, MapEntry } from './control.ts';
import { ExportTable } from './export-table.ts';
import { ImportTable } from './import-table.ts';
import type { JobTable } from './job-table.ts';

export class JobBodies implements Pick<IOThreadControl, JobCall> {
  readonly exports: ExportTable;
  readonly imports: ImportTable;
  readonly #graph: Graph;
  readonly #jobs: JobTable;

  constructor(graph: Graph, jobs: JobTable) {
    this.#graph = graph;
    this.#jobs = jobs;
    this.exports = new ExportTable(graph);
    this.imports = new ImportTable(graph);
  }

  blockdevCreate(number: number, options: BlockdevOptions): Promise<void> {
    return this.#run(number, async ({ signal }) => {
      const { createImage } = await import('../block/create.ts');
      await createImage(this.#graph, options, { signal });
    });
  }

  blockCheck(
    number: number,
    nodeName: string,
    fix: 'none' | 'leaks' | 'all',
  ): Promise<CheckResult> {
    return this.#run(number, async ({ pace }) =>
      skipFilters(this.#graph.get(nodeName)).check(fix, pace),
    );
  }

  blockMap(
    number: number,
    nodeName: string,
    offset: number,
    bytes: number | undefined,
  ): Promise<readonly MapEntry[]> {
    return this.#run(number, async (job) => {
      const { mapDisk } = await import('../block/jobs/map.ts');
      const source = this.#graph.newBackend({ name: job.id, nodeName, readOnly: true });
      try {
        return await mapDisk(source, offset, bytes ?? Math.max(source.length - offset, 0), job);
      } finally {
        await this.#graph.dropBackend(source);
      }
    });
  }

  blockReset(number: number, nodeName: string): Promise<void> {
    return this.#run(number, async ({ signal }) =>
      skipFilters(this.#graph.get(nodeName)).makeEmpty(signal),
    );
  }

  blockCommit(number: number, nodeName: string): Promise<void> {
    return this.#run(number, async (job) => {
      const { commitDisk } = await import('../block/jobs/commit.ts');
      await commitDisk(this.#graph, nodeName, job);
    });
  }

  blockCommitAll(number: number): Promise<readonly string[]> {
    return this.#run(number, async (job) => {
      const { commitAll } = await import('../block/jobs/commit.ts');
      return commitAll(this.#graph, job);
    });
  }

  blockConvert(number: number, nodeName: string, target: BlockdevOptions): Promise<void> {
    return this.#run(number, async (job) => {
      const { convertDisk } = await import('../block/jobs/convert.ts');
      await convertDisk(this.#graph, nodeName, target, job);
    });
  }

  importBlob(number: number, blob: Blob, target: BlockdevOptions): Promise<void> {
    return this.#run(number, async (job) => {
      const { importBlob } = await import('../block/jobs/import.ts');
      await importBlob(this.#graph, blob, target, job);
    });
  }

  exportBegin(number: number, nodeName: string, format: string): Promise<number> {
    return this.#begin(number, (job, end) =>
      this.exports.begin(number, job, end, nodeName, format),
    );
  }

  importBegin(number: number, target: BlockdevOptions, size: number | undefined): Promise<void> {
    return this.#begin(number, (job, end) => this.imports.begin(number, job, end, target, size));
  }

  /** A job that is over with its call. */
  #run<T>(number: number, body: (job: Job) => Promise<T>): Promise<T> {
    return this.#begin(number, async (job, end) => {
      const answer = await body(job);
      end();
      return answer;
    });
  }

  /** A job that lasts until `end`, or fails in this call. */
  async #begin<T>(number: number, body: (job: Job, end: () => void) => Promise<T>): Promise<T> {
    const begun = this.#jobs.begin(number);
    try {
      return await body(new Job(`job:${number}`, this.#graph.context, begun), begun.end);
    } catch (error) {
      begun.end();
      throw error;
    }
  }
}
