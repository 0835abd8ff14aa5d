// What shows where nothing was written: the backing image of the moment, or zeroes beyond its end. Where
// something was written once, its cluster may hold a copy of any backing image that there ever was.

import { BASE, OTHER_BASE, ZERO } from './sector-value.ts';

/** No backing image, the one that the disk was made over, or another one of the same length. */
export const BACKINGS: readonly number[] = [ZERO, BASE, OTHER_BASE];

/** Those that may show to somebody; more join while one is replaced. */
export type Backings = Set<number>;

export class BackingOracle {
  readonly #sectors: number;
  readonly #cluster: number;
  /** Clusters of which something was written. */
  readonly #touched = new Set<number>();
  readonly #ever: Set<number>;
  readonly #showing = new Set<Backings>();
  #now: number[];

  /** `sectors` of a backing image, of which `cluster` are copied at a time; 0 for a disk that has none. */
  constructor(sectors: number, cluster: number) {
    this.#sectors = sectors;
    this.#cluster = cluster;
    this.#now = [sectors > 0 ? BASE : ZERO];
    this.#ever = new Set(this.#now);
  }

  /** Which may show now; the first of them does unless it is being replaced. */
  get now(): readonly number[] {
    return this.#now;
  }

  /** `to` is to take its place. */
  replaces(to: number): void {
    this.#now.push(to);
    this.#ever.add(to);
    for (const backings of this.#showing) backings.add(to);
  }
  /** It did, or all is as before. */
  replaced(ok: boolean): void {
    this.#now = this.#now.slice(ok ? -1 : 0, ok ? undefined : 1);
  }

  /** The disk was opened over `backing`. */
  opened(backing: number): void {
    this.#now = [backing];
    this.#showing.clear();
  }

  /** For somebody who looks from now on, until `seen`. */
  showing(): Backings {
    const backings = new Set(this.#now);
    this.#showing.add(backings);
    return backings;
  }
  seen(backings: Backings): void {
    this.#showing.delete(backings);
  }

  /** A sector was written, or is about to be. */
  touch(sector: number): void {
    this.#touched.add(Math.floor(sector / this.#cluster));
  }
  /** All that was written was thrown away. */
  clear(): void {
    this.#touched.clear();
  }

  /** What sector `sector` may hold for one who looks, where it holds nothing of its own. */
  allowed(sector: number, backings: Backings): number[] {
    if (sector >= this.#sectors) return [ZERO];
    const touched = this.#touched.has(Math.floor(sector / this.#cluster));
    return [...(touched ? this.#ever : backings)];
  }
}
