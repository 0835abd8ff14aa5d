// Reading: map a run, read it from the file, from the backing file or from nowhere, go on. A read
// that is one run goes straight down with the caller's own vector; a longer one is cut up, its parts
// run side by side, and it answers when the last one has.

import type { IOVector } from '../../../base/io-vector.ts';
import { ENOTSUP, OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import { COMPRESSED, DATA, DATA_SHARED, UNALLOCATED } from './cluster-map.ts';
import { FAULT } from './faults.ts';
import type { Qcow2Image } from './image.ts';

/** Fills `qiov` from the guest's disk at `offset`. */
export function preadv(image: Qcow2Image, offset: number, qiov: IOVector): MaybeRet {
  const bytes = qiov.size;
  if (bytes === 0) return OK;
  const { map } = image;
  if (map.map(offset, bytes) === OK && map.bytes === bytes) {
    if (map.kind === DATA) {
      // The usual case, in one call.
      if (map.host + bytes <= image.file.length) return image.file.preadv(map.host, qiov);
    }
    return readRun(image, offset, qiov);
  }
  return new ReadRequest(image, offset, qiov).run();
}

/** Reads what `map` just answered for all of `qiov`. */
function readRun(image: Qcow2Image, offset: number, qiov: IOVector): MaybeRet {
  const { map } = image;
  switch (map.kind) {
    case DATA:
    case DATA_SHARED:
      return image.readFile(map.host, qiov);
    case COMPRESSED:
      image.notice(`${image.node}: compressed clusters are not supported`);
      return -ENOTSUP;
    case UNALLOCATED:
      return readBacking(image, offset, qiov);
    default:
      qiov.fill(0);
      return OK;
  }
}

/** Past the end of the backing file there are zeroes. */
function readBacking(image: Qcow2Image, offset: number, qiov: IOVector): MaybeRet {
  const left = image.backing === undefined ? 0 : image.backing.length - offset;
  if (left >= qiov.size) return image.backing!.preadv(offset, qiov);
  const there = Math.max(left, 0);
  qiov.fill(0, there);
  return there === 0 ? OK : image.backing!.preadv(offset, qiov.slice(0, there));
}

/** `qiov` itself where the part is all of it. */
export function partOf(qiov: IOVector, from: number, bytes: number): IOVector {
  return bytes === qiov.size ? qiov : qiov.slice(from, bytes);
}

/** A read of several runs, or one that waits for a table. */
class ReadRequest {
  readonly #image: Qcow2Image;
  readonly #offset: number;
  readonly #qiov: IOVector;
  readonly #pending: Promise<Ret>[] = [];
  #done = 0;
  #error: Ret = OK;

  constructor(image: Qcow2Image, offset: number, qiov: IOVector) {
    this.#image = image;
    this.#offset = offset;
    this.#qiov = qiov;
  }

  run(): MaybeRet {
    const { map, faults } = this.#image;
    while (this.#done < this.#qiov.size && this.#error === OK) {
      const at = this.#offset + this.#done;
      const ret = map.map(at, this.#qiov.size - this.#done);
      if (ret === FAULT) {
        const loaded = faults.resolve();
        if (typeof loaded !== 'number') return loaded.then((later) => this.#resume(later));
        if (loaded < 0) this.#error = loaded;
      } else if (ret < 0) {
        this.#error = ret;
      } else {
        const { bytes } = map;
        const part = readRun(this.#image, at, partOf(this.#qiov, this.#done, bytes));
        if (typeof part !== 'number') this.#pending.push(part);
        else if (part < 0) this.#error = part;
        this.#done += bytes;
      }
    }
    return this.#settle();
  }

  #resume(ret: Ret): MaybeRet {
    if (ret < 0) this.#error = ret;
    return this.run();
  }

  /** The memory is the caller's again only when every part has ended. */
  #settle(): MaybeRet {
    if (this.#pending.length === 0) return this.#error;
    const error = this.#error;
    return Promise.all(this.#pending).then((rets) => rets.reduce((a, b) => (a < 0 ? a : b), error));
  }
}
