// The exports that the page reads, a chunk for each call. One that is canceled, fails, or comes to its
// end lets go of its disk at once, whether or not the page says `exportEnd`.

import { transfer } from 'comlink';
import { BlockError } from '../block/block-error.ts';
import type { Graph } from '../block/graph.ts';
import type { ImageExport } from '../block/jobs/export.ts';
import type { Job } from '../block/jobs/job.ts';

interface OpenExport {
  readonly image: ImageExport;
  readonly end: () => Promise<void>;
}

export class ExportTable {
  readonly #graph: Graph;
  readonly #open = new Map<number, OpenExport>();

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** Begins the export that is job `id`, which it ends; on failure the caller does. See `IOThreadControl`. */
  async begin(
    id: number,
    job: Job,
    end: () => void,
    nodeName: string,
    format: string,
  ): Promise<number> {
    const signal = job.signal!;
    const { ImageExport } = await import('../block/jobs/export.ts');
    const image = await ImageExport.begin(this.#graph, nodeName, format, job);
    const close = async (): Promise<void> => {
      this.#open.delete(id);
      await image.close();
      end();
    };
    if (signal.aborted) {
      await image.close();
      throw signal.reason;
    }
    this.#open.set(id, { image, end: close });
    signal.addEventListener('abort', () => void close().catch(() => {}), { once: true });
    return image.length;
  }

  async next(id: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const open = this.#open.get(id);
    if (open === undefined) throw new BlockError('ECANCELED', 'the export was canceled');
    try {
      const chunk = await open.image.next();
      if (chunk !== undefined) return transfer(chunk, [chunk.buffer]);
    } catch (error) {
      await open.end();
      throw error;
    }
    await open.end();
    return undefined;
  }

  /** Nothing for one that is over. */
  async end(id: number): Promise<void> {
    await this.#open.get(id)?.end();
  }
}
