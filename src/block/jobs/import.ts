// Fills a new image with bytes from outside: a Blob, which the thread reads by itself, or chunks that
// are handed in one after the other. Byte for byte where the target is a file; a format takes the bytes
// for the disk's. An import that does not get to its end leaves no image behind.

import type { OptionTree } from '../../base/options.ts';
import type { BlockBackend } from '../block-backend.ts';
import { BlockError } from '../block-error.ts';
import type { Graph } from '../graph.ts';
import { treeOf } from '../node-options.ts';
import { openGraph } from '../open.ts';
import { roundUp } from '../shaping.ts';
import { copyIntoNew, withNewImage, withSize } from './convert.ts';
import type { Job } from './job.ts';
import { writeData } from './write-data.ts';

/** An image whose length nobody knows grows by this much, bytes. */
const GROWTH_BYTES = 16 * 1024 * 1024;

/** Copies `blob` into the new image that `target` describes. Throws as `convertDisk` does. */
export async function importBlob(
  graph: Graph,
  blob: Blob,
  target: OptionTree,
  job: Job,
): Promise<void> {
  const notices: string[] = [];
  const onNotice = (_node: string, message: string): void => void notices.push(message);
  const options = { driver: 'blob', blob, 'chunk-size': '1M', 'cache-size': '4M' };
  const node = await openGraph(graph, options, { readOnly: true, onNotice });
  try {
    const source = graph.newBackend({ name: `${job.id}:source`, nodeName: node.name });
    try {
      await copyIntoNew(graph, source, target, job);
    } finally {
      await graph.dropBackend(source);
    }
  } catch (error) {
    if (!(error instanceof BlockError) || notices.length === 0) throw error;
    throw new BlockError(error.code, `${error.message} (${notices[0]})`, { cause: error });
  } finally {
    // Nobody else reads from it.
    node.cancelInFlight();
    await graph.blockdevDel(node.name);
  }
}

interface Chunk {
  readonly bytes: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** An import of chunks. They come one at a time: the next one when `write` resolves. */
export class ImageImport {
  /** Resolves when the image is there; rejects when it cannot be made. */
  readonly ready: Promise<void>;
  /** Settles when the import is over, one way or the other. */
  readonly over: Promise<void>;
  readonly #job: Job;
  readonly #size: number | undefined;
  /** The image is as long as what comes. */
  readonly #grows: boolean;
  #done = 0;
  #finished = false;
  #chunk: Chunk | undefined;
  /** Wakes who waits for a chunk. */
  #wake = (): void => {};

  /** `size`: of what comes, bytes; undefined where nobody knows: the image then grows. */
  constructor(graph: Graph, target: OptionTree, size: number | undefined, job: Job) {
    this.#job = job;
    this.#size = size;
    const options = withSize(target, size ?? 0);
    this.#grows = size === undefined && treeOf(target, false)['size'] === undefined;
    let opened = (): void => {};
    const open = new Promise<void>((resolve) => (opened = resolve));
    this.over = withNewImage(graph, options, job, async (image) => {
      opened();
      await this.#receive(image);
    });
    this.ready = Promise.race([open, this.over]);
    this.over.catch((error: unknown) => this.#chunk?.reject(error));
  }

  /** Takes the bytes that come next; resolves when they are written. Throws what ended the import. */
  write(bytes: Uint8Array): Promise<void> {
    const written = new Promise<void>((resolve, reject) => {
      this.#chunk = { bytes, resolve, reject };
      this.#wake();
    });
    return Promise.race([written, this.over]);
  }

  /** That was all; resolves when the image is whole, flushed and closed. Throws what ended it. */
  finish(): Promise<void> {
    this.#finished = true;
    this.#wake();
    return this.over;
  }

  async #receive(image: BlockBackend): Promise<void> {
    for (;;) {
      await this.#job.wait(this.#arrival());
      const chunk = this.#chunk;
      if (chunk === undefined) break;
      await this.#write(image, chunk.bytes);
      this.#chunk = undefined;
      chunk.resolve();
    }
    await this.#complete(image);
    this.#job.finished(this.#done);
  }

  /** Resolves when there is a chunk, or no more will come. */
  #arrival(): Promise<void> {
    if (this.#chunk !== undefined || this.#finished) return Promise.resolve();
    return new Promise((resolve) => (this.#wake = resolve));
  }

  async #write(image: BlockBackend, bytes: Uint8Array): Promise<void> {
    const end = this.#done + bytes.length;
    const most = this.#size ?? (this.#grows ? Infinity : image.length);
    if (end > most) {
      throw new BlockError(
        'EINVAL',
        `the stream goes on after the ${most} bytes there is room for`,
      );
    }
    if (end > image.length) await this.#grow(image, end);
    const ret = await writeData(image, this.#done, bytes);
    if (ret < 0) throw failure(ret, `writing ${bytes.length} bytes at ${this.#done}`, image);
    this.#done = end;
    this.#job.progress(end, this.#size ?? 0);
  }

  async #grow(image: BlockBackend, end: number): Promise<void> {
    const generous = await image.truncate(roundUp(end, GROWTH_BYTES));
    const ret = generous < 0 ? await image.truncate(end) : generous;
    if (ret < 0) throw failure(ret, `making it ${end} bytes long`, image);
  }

  async #complete(image: BlockBackend): Promise<void> {
    if (this.#size !== undefined && this.#done < this.#size) {
      const message = `the stream ended after ${this.#done} of the ${this.#size} bytes it was said to have`;
      throw new BlockError('EIO', message);
    }
    if (!this.#grows || image.length === this.#done) return;
    const ret = await image.truncate(this.#done);
    if (ret < 0) throw failure(ret, `making it ${this.#done} bytes long`, image);
  }
}

function failure(ret: number, what: string, image: BlockBackend): BlockError {
  return BlockError.fromRet(ret, `${what}, in the new image '${image.root?.filename}'`);
}
