// What a disk must hold, as plain bytes. Discarded bytes may read as before or as zeroes, until they
// are written again.

export class ByteModel {
  #bytes: Uint8Array;
  /** 1 where a discard left a choice. */
  #loose: Uint8Array;

  /** All zeroes. */
  constructor(length: number) {
    this.#bytes = new Uint8Array(length);
    this.#loose = new Uint8Array(length);
  }

  get length(): number {
    return this.#bytes.length;
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, offset);
    this.#loose.fill(0, offset, offset + bytes.length);
  }

  zero(offset: number, bytes: number): void {
    this.#bytes.fill(0, offset, offset + bytes);
    this.#loose.fill(0, offset, offset + bytes);
  }

  discard(offset: number, bytes: number): void {
    this.#loose.fill(1, offset, offset + bytes);
  }

  resize(length: number): void {
    const keep = Math.min(length, this.length);
    const bytes = new Uint8Array(length);
    const loose = new Uint8Array(length);
    bytes.set(this.#bytes.subarray(0, keep));
    loose.set(this.#loose.subarray(0, keep));
    this.#bytes = bytes;
    this.#loose = loose;
  }

  /** Throws an Error that names the first byte of `actual`, read at `offset`, that is wrong. */
  check(offset: number, actual: Uint8Array, what: string): void {
    for (let i = 0; i < actual.length; i++) {
      const expected = this.#bytes[offset + i]!;
      if (actual[i] === expected || (actual[i] === 0 && this.#loose[offset + i] === 1)) continue;
      throw new Error(`${what}: byte ${offset + i} is ${actual[i]}, not ${expected}`);
    }
  }
}
