// The images that the page fills, a chunk for each call. One is over, and forgotten, with `importEnd`.

import { BlockError } from '../block/block-error.ts';
import type { Graph } from '../block/graph.ts';
import type { ImageImport } from '../block/jobs/import.ts';
import type { Job } from '../block/jobs/job.ts';
import type { BlockdevOptions } from './control.ts';

export class ImportTable {
  readonly #graph: Graph;
  readonly #open = new Map<number, ImageImport>();

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** Begins the import that is job `id`, which it ends; on failure the caller does. See `IOThreadControl`. */
  async begin(
    id: number,
    job: Job,
    end: () => void,
    target: BlockdevOptions,
    size: number | undefined,
  ): Promise<void> {
    const { ImageImport } = await import('../block/jobs/import.ts');
    const image = new ImageImport(this.#graph, target, size, job);
    image.over.then(end, end);
    this.#open.set(id, image);
    try {
      await image.ready;
    } catch (error) {
      this.#open.delete(id);
      throw error;
    }
  }

  write(id: number, bytes: Uint8Array): Promise<void> {
    return this.#get(id).write(bytes);
  }

  async end(id: number): Promise<void> {
    const image = this.#get(id);
    this.#open.delete(id);
    await image.finish();
  }

  #get(id: number): ImageImport {
    const image = this.#open.get(id);
    if (image === undefined) throw new BlockError('ENOENT', 'there is no such import');
    return image;
  }
}
