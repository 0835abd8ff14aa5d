// What a disk may hold after a power cut: in each sector what it held at the last answered flush, or
// anything written there since. Nothing else, and nothing torn.

const SECTOR = 512;
const ZEROES = new Uint8Array(SECTOR);

export class CrashModel {
  /** As it stands, were there no power cut. */
  now: Uint8Array<ArrayBuffer>;
  /** At the last answered flush. */
  #stable: Uint8Array;
  #lengths: Set<number>;
  readonly #since = new Map<number, Uint8Array[]>();

  constructor(bytes: Uint8Array) {
    this.now = Uint8Array.from(bytes);
    this.#stable = Uint8Array.from(bytes);
    this.#lengths = new Set([bytes.length]);
  }

  /** To be called before the write is made: the cut may come in the midst of it. */
  willWrite(offset: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += SECTOR) {
      const sector = (offset + at) / SECTOR;
      const values = this.#since.get(sector) ?? [];
      values.push(bytes.slice(at, at + SECTOR));
      this.#since.set(sector, values);
    }
    this.now.set(bytes, offset);
  }

  willZero(offset: number, bytes: number): void {
    this.willWrite(offset, new Uint8Array(bytes));
  }

  /** Discarding leaves old or zero; from then on both are allowed until `observe`. */
  willDiscard(offset: number, bytes: number): void {
    const old = this.now.slice(offset, offset + bytes);
    this.willZero(offset, bytes);
    this.now.set(old, offset);
  }

  willResize(length: number): void {
    this.#lengths.add(length);
    if (length < this.now.length) this.willZero(length, this.now.length - length);
    const resized = new Uint8Array(length);
    resized.set(this.now.subarray(0, Math.min(length, this.now.length)));
    this.now = resized;
  }

  /** What the disk read as, after a discard. */
  observe(offset: number, bytes: Uint8Array): void {
    this.now.set(bytes, offset);
  }

  /** A flush that began after everything above has been answered. */
  flushed(): void {
    this.#stable = this.now.slice();
    this.#since.clear();
    this.#lengths = new Set([this.now.length]);
  }

  /** Why `bytes`, all that the disk holds after the cut, is wrong; undefined when it is allowed. */
  verdict(bytes: Uint8Array): string | undefined {
    if (!this.#lengths.has(bytes.length)) return `length ${bytes.length} never was`;
    for (let at = 0; at < bytes.length; at += SECTOR) {
      const got = bytes.subarray(at, at + SECTOR);
      const same = (other: Uint8Array): boolean => Buffer.compare(got, other) === 0;
      const stable = at < this.#stable.length ? this.#stable.subarray(at, at + SECTOR) : ZEROES;
      if (same(stable)) continue;
      if (this.#since.get(at / SECTOR)?.some(same) === true) continue;
      return `sector at ${at} holds ${got[0]}, ${got[1]} ..., flushed was ${stable[0]}, ${stable[1]} ...`;
    }
    return undefined;
  }
}
