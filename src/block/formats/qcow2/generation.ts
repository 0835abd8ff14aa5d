// Which version of the contents an image holds: random bytes in a header extension of our own, that an
// autoclear bit vouches for. Whoever writes takes the bit off first - we do, and programs that do not
// know it must, by the format's rule - so that nothing is written under a name that somebody keeps.

import { andThen } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import type { Qcow2Image } from './image.ts';
import { AUTOCLEAR_GENERATION, HEADER_AUTOCLEAR } from './spec.ts';

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
    const { storeGeneration } = await import('./store-generation.ts');
    const stored = await storeGeneration(image, this.#at, this.#random);
    if (stored === undefined) return undefined;
    this.#at = stored.offset;
    this.#id = hex(stored.bytes);
    this.sealed = true;
    return this.#id;
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
