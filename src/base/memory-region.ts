// A stretch of memory that requests point into: guest RAM, a bounce pool, a driver's own buffer.
// It hands out views without allocating where it can, and can be revoked when the device is reset.

const CACHED_VIEWS = 1024;

/**
 * Memory addressed by `IOVector`s. Offsets are bytes from the start of `bytes`; for guest RAM they
 * are guest-physical addresses.
 */
export class MemoryRegion {
  /** All of it. May be backed by a SharedArrayBuffer. */
  readonly bytes: Uint8Array;
  /** How many views had to be made; stays put while a workload repeats (asserted in tests). */
  viewsMade = 0;
  #revoked = false;
  // Direct-mapped by page: a guest uses the same page-cache pages again and again.
  // Made with the first view, since regions of small buffers come and go without any.
  #views: (Uint8Array | undefined)[] = [];

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get length(): number {
    return this.bytes.length;
  }

  /** True after `revoke`: nothing may read or write `bytes` for this region's requests any more. */
  get revoked(): boolean {
    return this.#revoked;
  }

  /**
   * The bytes `[offset, offset + length)` as a view, often one made before. Callers use it at once
   * and do not keep it. After `revoke`, scratch memory that nobody reads.
   */
  view(offset: number, length: number): Uint8Array {
    if (this.#revoked) return new Uint8Array(length);
    const slot = (offset >>> 12) % CACHED_VIEWS;
    const cached = this.#views[slot];
    if (
      cached !== undefined &&
      cached.length === length &&
      cached.byteOffset === this.bytes.byteOffset + offset
    ) {
      return cached;
    }
    if (this.#views.length === 0) this.#views = new Array<undefined>(CACHED_VIEWS).fill(undefined);
    const made = this.bytes.subarray(offset, offset + length);
    this.viewsMade += 1;
    this.#views[slot] = made;
    return made;
  }

  /**
   * Ends access for requests still in flight: the guest reset its device and owns the memory again.
   * Reads into it are dropped from now on; BlockNode answers -ECANCELED to later requests from it.
   */
  revoke(): void {
    this.#revoked = true;
    this.#views = [];
  }
}
