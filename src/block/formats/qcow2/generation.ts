// Which version of the contents an image holds: random bytes in a header extension of our own, that an
// autoclear bit vouches for. Whoever writes takes the bit off first - we do, and programs that do not
// know it must, by the format's rule - so that nothing is written under a name that somebody keeps.

import { IOVector } from '../../../base/io-vector.ts';
import { OK, andThen } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import { BlockError } from '../../block-error.ts';
import { roundUp8, viewOf } from './header.ts';
import type { Qcow2Image } from './image.ts';
import {
  AUTOCLEAR_GENERATION, EXT_GENERATION, EXTENSION_HEAD_BYTES, GENERATION_BYTES, HEADER_AUTOCLEAR,
  HEADER_BACKING_FILE,
} from './spec.ts'; // prettier-ignore

/** Our extension and the mark behind it that ends them all. */
const NEEDED = EXTENSION_HEAD_BYTES + GENERATION_BYTES + EXTENSION_HEAD_BYTES;

export class Generation {
  /** The bit is on: the next change must take it off first (`unseal`). */
  sealed: boolean;
  readonly #image: Qcow2Image;
  readonly #random: () => number;
  /** Where the bytes lie in the file; 0 while there is no place for them. */
  #at: number;
  #id = '';
  #unsealing: Promise<Ret> | undefined;

  /** `random` answers `[0, 1)`. */
  constructor(image: Qcow2Image, random: () => number) {
    const { generation, autoclearFeatures } = image.header;
    this.#image = image;
    this.#random = random;
    this.#at = generation?.offset ?? 0;
    this.sealed = this.#at !== 0 && (autoclearFeatures & AUTOCLEAR_GENERATION) !== 0n;
    if (this.sealed) this.#id = hex(generation!.bytes);
  }

  /** The version on disk; undefined where none is vouched for. */
  get stored(): string | undefined {
    return this.sealed ? this.#id : undefined;
  }

  /** Makes it known on disk, and durably, that the contents are about to change. */
  unseal(): MaybeRet {
    if (this.#unsealing !== undefined) return this.#unsealing;
    const image = this.#image;
    const written = andThen(image.writeHeader(HEADER_AUTOCLEAR, new Uint8Array(8)), () =>
      image.file.flush(),
    );
    if (typeof written === 'number') return this.#unsealed(written);
    this.#unsealing = written.then((ret) => {
      this.#unsealing = undefined;
      return this.#unsealed(ret);
    });
    return this.#unsealing;
  }

  #unsealed(ret: Ret): Ret {
    if (ret >= 0) this.sealed = false;
    return ret;
  }

  /**
   * The version that the image holds, 32 hexadecimal digits; one is made where there is none. Undefined
   * where the image has no room to keep one. Drained and flushed. Throws BlockError.
   */
  async seal(): Promise<string | undefined> {
    const image = this.#image;
    if (this.sealed) return this.#id;
    if (image.readOnly || image.corrupt || image.version < 3) return undefined;
    if (this.#at === 0) this.#at = await this.#makeRoom();
    if (this.#at === 0) return undefined;
    const bytes = new Uint8Array(GENERATION_BYTES);
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#random() * 256;
    await this.#put(this.#at, bytes);
    const bit = new Uint8Array(8);
    viewOf(bit).setBigUint64(0, AUTOCLEAR_GENERATION);
    await this.#put(HEADER_AUTOCLEAR, bit);
    this.#id = hex(bytes);
    this.sealed = true;
    return this.#id;
  }

  /**
   * Adds our extension behind the others. The name of the backing file may lie there: a copy of it
   * further back takes its place first. Each step leaves a good header. Answers where the bytes go,
   * 0 where they cannot.
   */
  async #makeRoom(): Promise<number> {
    const image = this.#image;
    const end = image.header.extensionsEnd;
    const head = new Uint8Array(Math.min(image.clusterSize, image.file.length));
    if (end === 0 || end + NEEDED > head.length) return 0;
    await this.#must(image.file.preadv(0, IOVector.of(head)));
    const view = viewOf(head);
    const nameAt = Number(view.getBigUint64(HEADER_BACKING_FILE));
    if (nameAt !== 0 && nameAt < end + NEEDED) {
      const name = head.slice(nameAt, nameAt + view.getUint32(HEADER_BACKING_FILE + 8));
      const there = Math.max(roundUp8(nameAt + name.length), end + NEEDED);
      if (there + name.length > head.length) return 0;
      await this.#put(there, name);
      const offset = new Uint8Array(8);
      viewOf(offset).setBigUint64(0, BigInt(there));
      await this.#put(HEADER_BACKING_FILE, offset);
    }
    const at = end + EXTENSION_HEAD_BYTES;
    // What follows the mark at `end` means nothing, until that mark turns into our extension.
    await this.#put(at, new Uint8Array(NEEDED - EXTENSION_HEAD_BYTES));
    const extension = new Uint8Array(EXTENSION_HEAD_BYTES);
    viewOf(extension).setUint32(0, EXT_GENERATION);
    viewOf(extension).setUint32(4, GENERATION_BYTES);
    await this.#put(end, extension);
    return at;
  }

  /** Writes into the header, durably. */
  async #put(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#must(this.#image.writeHeader(offset, bytes));
    await this.#must(this.#image.file.flush());
  }

  async #must(ret: MaybeRet): Promise<void> {
    const done = await ret;
    const { node } = this.#image;
    if (done < OK) throw BlockError.fromRet(done, `${node}: cannot store its generation`, node);
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
