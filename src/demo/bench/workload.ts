// What one side of a row does to its disk: one kind of request, over and over, at offsets that are the
// same for us and for the baseline. Random ones come from xorshift32, since the host's own random
// numbers cost as much as a request may.

export interface Workload {
  readonly op: 'read' | 'write';
  /** Bytes of one request, and what its offset is a multiple of. */
  readonly bytes: number;
  readonly order: 'random' | 'sequential';
  /** For writes: so many, and then a flush with none in flight. Each run ends with one, too. */
  readonly flushEvery?: number;
}

export const READ_4K: Workload = { op: 'read', bytes: 4096, order: 'random' };

/** A workload in fio's words: `randread-4k`, `write-64k`. */
export function workloadName({ op, bytes, order }: Workload): string {
  return `${order === 'random' ? 'rand' : 'seq'}${op}-${bytes / 1024}k`;
}

export class BlockOffsets {
  readonly #blocks: number;
  readonly #bytes: number;
  readonly #random: boolean;
  #state = 0x9e3779b9;
  #next = 0;

  /** Offsets lie in `[0, diskBytes)`; sequential ones start again at the end. */
  constructor(diskBytes: number, { bytes, order }: Pick<Workload, 'bytes' | 'order'>) {
    this.#blocks = Math.floor(diskBytes / bytes);
    this.#bytes = bytes;
    this.#random = order === 'random';
  }

  /** The next offset, bytes. */
  next(): number {
    if (this.#random) return (this.#word() % this.#blocks) * this.#bytes;
    const at = this.#next;
    this.#next = at + 1 === this.#blocks ? 0 : at + 1;
    return at * this.#bytes;
  }

  #word(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
}
