// What the jobs of the control interface do, loaded with the first of them. The ControlServer has begun
// them by then, and ends them with their answer; exports and imports last for more calls than that.

import type { CheckResult } from '../block/block-driver.ts';
import type { Graph } from '../block/graph.ts';
import { Job } from '../block/jobs/job.ts';
import type { BlockdevOptions, IOThreadControl, JobCall, MapEntry } from './control.ts';
import { ExportTable } from './export-table.ts';
import { ImportTable } from './import-table.ts';
import type { BegunJob } from './job-table.ts';

/** A control call with the job in place of its number. */
type Body<F> = F extends (job: number, ...rest: infer Rest) => infer Answer
  ? (job: Job, ...rest: Rest) => Answer
  : never;

type Bodies = { readonly [Name in JobCall]: Body<IOThreadControl[Name]> };

/** Jobs that are over when their call is answered. */
type OneCall = Exclude<JobCall, 'exportBegin' | 'importBegin'>;

type AnyBody = (job: Job, ...rest: readonly unknown[]) => Promise<unknown>;

export class JobBodies implements Pick<Bodies, OneCall> {
  readonly exports: ExportTable;
  readonly imports: ImportTable;
  readonly #graph: Graph;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.exports = new ExportTable(graph);
    this.imports = new ImportTable(graph);
  }

  /** Does what the call `name` asks for. The job's end is the caller's where this throws. */
  async run(name: JobCall, begun: BegunJob, args: readonly unknown[]): Promise<unknown> {
    const job = new Job(`job:${begun.number}`, this.#graph.context, begun);
    if (name === 'exportBegin') {
      const [nodeName, format] = args as [nodeName: string, format: string];
      return this.exports.begin(begun, job, nodeName, format);
    }
    if (name === 'importBegin') {
      const [target, size] = args as [target: BlockdevOptions, size: number | undefined];
      return this.imports.begin(begun, job, target, size);
    }
    const answer = await (this as unknown as Record<OneCall, AnyBody>)[name](job, ...args);
    begun.end();
    return answer;
  }

  async blockdevCreate({ signal }: Job, options: BlockdevOptions): Promise<void> {
    const { createImage } = await import('../block/create.ts');
    await createImage(this.#graph, options, { signal });
  }

  blockCheck(job: Job, nodeName: string, fix: 'none' | 'leaks' | 'all'): Promise<CheckResult> {
    return this.#graph.get(nodeName).check(fix, job.pace);
  }

  async blockMap(
    job: Job,
    nodeName: string,
    offset: number,
    bytes: number | undefined,
  ): Promise<readonly MapEntry[]> {
    const { mapDisk } = await import('../block/jobs/map.ts');
    const source = this.#graph.newBackend({ name: job.id, nodeName, readOnly: true });
    try {
      return await mapDisk(source, offset, bytes ?? Math.max(source.length - offset, 0), job);
    } finally {
      await this.#graph.dropBackend(source);
    }
  }

  blockReset({ signal }: Job, nodeName: string): Promise<void> {
    return this.#graph.get(nodeName).makeEmpty(signal);
  }

  async blockConvert(job: Job, nodeName: string, target: BlockdevOptions): Promise<void> {
    const { convertDisk } = await import('../block/jobs/convert.ts');
    await convertDisk(this.#graph, nodeName, target, job);
  }

  async importBlob(job: Job, blob: Blob, target: BlockdevOptions): Promise<void> {
    const { importBlob } = await import('../block/jobs/import.ts');
    await importBlob(this.#graph, blob, target, job);
  }
}
