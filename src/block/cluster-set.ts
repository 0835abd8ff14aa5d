// Which clusters of a disk hold data: one bit each, in groups that exist only where there is one. So
// memory grows with what is stored, not with the size of the disk.

const WORD_BITS = 32;

export class ClusterSet {
  /** Clusters in a group; a multiple of 32. */
  readonly perGroup: number;
  /** Clusters in the set. */
  size = 0;
  readonly #groups = new Map<number, Uint32Array>();

  constructor(perGroup: number) {
    this.perGroup = perGroup;
  }

  /** Groups with a cluster in the set. */
  get groups(): number {
    return this.#groups.size;
  }

  /** Adds the clusters `[from, to)`. */
  add(from: number, to: number): void {
    for (let cluster = from; cluster < to;) {
      const words = this.#groupOf(cluster);
      const first = cluster % this.perGroup;
      const end = Math.min(first + to - cluster, this.perGroup);
      for (let bit = first; bit < end; bit++) {
        const mask = 1 << (bit % WORD_BITS);
        const at = bit >>> 5;
        if ((words[at]! & mask) !== 0) continue;
        words[at]! |= mask;
        this.size += 1;
      }
      cluster += end - first;
    }
  }

  has(cluster: number): boolean {
    const words = this.#groups.get(Math.floor(cluster / this.perGroup));
    if (words === undefined) return false;
    const bit = cluster % this.perGroup;
    return (words[bit >>> 5]! & (1 << (bit % WORD_BITS))) !== 0;
  }

  hasGroup(group: number): boolean {
    return this.#groups.has(group);
  }

  /** Numbers of the groups that exist, ascending. */
  groupNumbers(): number[] {
    return [...this.#groups.keys()].sort((a, b) => a - b);
  }

  #groupOf(cluster: number): Uint32Array {
    const group = Math.floor(cluster / this.perGroup);
    let words = this.#groups.get(group);
    if (words === undefined) {
      words = new Uint32Array(this.perGroup / WORD_BITS);
      this.#groups.set(group, words);
    }
    return words;
  }
}
