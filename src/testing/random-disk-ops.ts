// Random operations on a disk beside a model of its contents: writes, zeroes, discards, flushes and
// resizes, of sizes that meet the edges of clusters. Every read is compared.

import { IOVector } from '../base/io-vector.ts';
import { REQ_MAY_UNMAP } from '../block/block-driver.ts';
import type { BlockNode } from '../block/block-node.ts';
import type { Prng } from './prng.ts';

export interface RandomOpsOptions {
  /** Sizes cluster around this, bytes. */
  readonly clusterSize: number;
  /** The largest request, bytes. */
  readonly maxBytes: number;
  /** Resizes, in units of 512 bytes, up to this size; 0 for none. */
  readonly maxLength?: number;
}

export class RandomOps {
  /** What the disk must read as. */
  model: Uint8Array<ArrayBuffer>;
  done = 0;
  readonly #prng: Prng;
  readonly #options: RandomOpsOptions;

  constructor(prng: Prng, model: Uint8Array<ArrayBuffer>, options: RandomOpsOptions) {
    this.#prng = prng;
    this.model = model;
    this.#options = options;
  }

  /** Does one operation; throws on a wrong answer or wrong contents. */
  async step(node: BlockNode): Promise<void> {
    const prng = this.#prng;
    this.done += 1;
    const dice = prng.below(100);
    if (this.model.length === 0) return this.#resize(node);
    const [offset, bytes] = this.range();
    if (dice < 45) return this.#write(node, offset, bytes);
    if (dice < 65) return this.check(node, offset, bytes);
    if (dice < 80) return this.#zeroes(node, offset, bytes, prng.chance(50));
    if (dice < 92) return this.#discard(node, offset, bytes);
    if (dice < 95) return this.#resize(node);
    must(await node.flush(), 'flush');
  }

  /** A range inside the disk, often at the edges of clusters. */
  range(): [offset: number, bytes: number] {
    const { clusterSize, maxBytes } = this.#options;
    const prng = this.#prng;
    const { length } = this.model;
    const step = prng.pick([512, 512, 4096, clusterSize]);
    const offset = Math.min(prng.below(Math.ceil(length / step)) * step, length - 512);
    const sizes = [512, 4096, clusterSize, 2 * clusterSize, maxBytes, 512 + prng.below(maxBytes)];
    const bytes = Math.min(prng.pick(sizes), maxBytes, length - offset);
    return [offset, bytes - (bytes % 512) || 512];
  }

  /** Compares a range, all of it by default. */
  async check(node: BlockNode, offset = 0, bytes: number = this.model.length): Promise<void> {
    const chunk = 4 * 1024 * 1024;
    for (let at = offset; at < offset + bytes; at += chunk) {
      const length = Math.min(chunk, offset + bytes - at);
      const got = new Uint8Array(length).fill(0xee);
      must(await node.preadv(at, IOVector.of(got)), `read of ${length} at ${at}`);
      if (Buffer.compare(got, this.model.subarray(at, at + length)) === 0) continue;
      const wrong = got.findIndex((byte, i) => byte !== this.model[at + i]);
      throw new Error(
        `operation ${this.done}: byte ${at + wrong} is ${got[wrong]}, ` +
          `not ${this.model[at + wrong]} (read of ${length} at ${at})`,
      );
    }
  }

  async #write(node: BlockNode, offset: number, bytes: number): Promise<void> {
    const data = this.#prng.chance(50)
      ? this.#prng.bytes(bytes)
      : new Uint8Array(bytes).fill(1 + this.#prng.below(255));
    must(await node.pwritev(offset, IOVector.of(data)), `write of ${bytes} at ${offset}`);
    this.model.set(data, offset);
  }

  async #zeroes(node: BlockNode, offset: number, bytes: number, unmap: boolean): Promise<void> {
    const ret = await node.pwriteZeroes(offset, bytes, unmap ? REQ_MAY_UNMAP : 0);
    must(ret, `zeroes, ${bytes} at ${offset}`);
    this.model.fill(0, offset, offset + bytes);
  }

  /** Afterwards each sector reads as before, or as zeroes. */
  async #discard(node: BlockNode, offset: number, bytes: number): Promise<void> {
    must(await node.pdiscard(offset, bytes), `discard of ${bytes} at ${offset}`);
    const got = new Uint8Array(bytes);
    must(await node.preadv(offset, IOVector.of(got)), 'read after discard');
    const zeroes = new Uint8Array(512);
    for (let at = 0; at < bytes; at += 512) {
      if (Buffer.compare(got.subarray(at, at + 512), zeroes) === 0) {
        this.model.fill(0, offset + at, offset + at + 512);
      }
    }
    await this.check(node, offset, bytes);
  }

  async #resize(node: BlockNode): Promise<void> {
    const { maxLength = 0 } = this.#options;
    if (maxLength === 0) return;
    const length = this.#prng.below(maxLength / 512 + 1) * 512;
    must(await node.truncate(length), `truncate to ${length}`);
    const model = new Uint8Array(length);
    model.set(this.model.subarray(0, Math.min(length, this.model.length)));
    this.model = model;
  }
}

function must(ret: number, what: string): void {
  if (ret < 0) throw new Error(`${what}: ${ret}`);
}
