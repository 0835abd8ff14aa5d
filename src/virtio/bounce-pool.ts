// Pages of a bounce memory, handed out in any order: a request takes as many as it needs, and the
// queue's indirect tables make one buffer of them. A free stack, so nothing fragments.

/** 64 KiB: most requests take one. */
export const BOUNCE_PAGE = 65536;

export class BouncePool {
  readonly #free: Int32Array;
  #available: number;

  /** `base`: byte offset of the first page in the memory. */
  constructor(base: number, pages: number) {
    this.#free = new Int32Array(pages);
    this.#available = pages;
    // Lowest page on top, so that a light load stays in a few hot pages.
    for (let i = 0; i < pages; i++) this.#free[i] = base + (pages - 1 - i) * BOUNCE_PAGE;
  }

  /** Pages that can be taken now. */
  get available(): number {
    return this.#available;
  }

  /** Takes one page; its byte offset. Only while `available` is positive. */
  take(): number {
    this.#available -= 1;
    return this.#free[this.#available]!;
  }

  give(page: number): void {
    this.#free[this.#available] = page;
    this.#available += 1;
  }
}
