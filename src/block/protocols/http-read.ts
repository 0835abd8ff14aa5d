// A guest's read that waits for chunks. Each chunk is copied out the moment it arrives, before any
// eviction can take it, so a read holds no cache memory and may be larger than the cache.

import { OK } from '../../base/ret.ts';
import type { Ret } from '../../base/ret.ts';
import type { IOVector } from '../../base/io-vector.ts';

export class HttpRead {
  /** Settles when every chunk came or failed: nothing is written to the guest's memory after. */
  readonly done: Promise<Ret>;
  readonly #offset: number;
  readonly #qiov: IOVector;
  readonly #chunkSize: number;
  #left: number;
  #ret: Ret = OK;
  #resolve: (ret: Ret) => void = () => {};

  /** Waits for `chunks` chunks to be handed in. */
  constructor(offset: number, qiov: IOVector, chunkSize: number, chunks: number) {
    this.#offset = offset;
    this.#qiov = qiov;
    this.#chunkSize = chunkSize;
    this.#left = chunks;
    this.done = new Promise((resolve) => (this.#resolve = resolve));
  }

  /** Chunk number `chunk` is in `bytes`. */
  arrived(chunk: number, bytes: Uint8Array): void {
    copyChunk(this.#offset, this.#qiov, chunk * this.#chunkSize, bytes);
    this.#count();
  }

  /** One of the chunks will not come. */
  failed(ret: Ret): void {
    if (this.#ret === OK) this.#ret = ret;
    this.#count();
  }

  #count(): void {
    this.#left -= 1;
    if (this.#left === 0) this.#resolve(this.#ret);
  }
}

/** Copies what `bytes`, which lie at `start` of the image, have of the read at `offset`. */
export function copyChunk(offset: number, qiov: IOVector, start: number, bytes: Uint8Array): void {
  const from = Math.max(offset, start);
  const end = Math.min(offset + qiov.size, start + bytes.length);
  qiov.copyFrom(bytes, from - start, from - offset, end - from);
}
