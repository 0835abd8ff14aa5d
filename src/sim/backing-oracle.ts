// What shows where nothing was written: the backing image of the moment, or zeroes beyond its end. Where
// something was written once, its cluster may hold a copy of any backing image that there ever was. A base
// that a commit wrote to is another image from then on, of which each sector is known.

import { OracleError } from './oracle-error.ts';
import { BASE, OTHER_BASE, SECTOR, ZERO, sectorValue } from './sector-value.ts';

/** No backing image, the one that the disk was made over, or another one of the same length at first. */
export const BACKINGS: readonly number[] = [ZERO, BASE, OTHER_BASE];

/** What a backing image holds, by sector; zeroes beyond. */
export type BackingImage = readonly number[];

/** Those that may show to somebody; more join while one is replaced. */
export type Backings = Set<BackingImage>;

export class BackingOracle {
  readonly #cluster: number;
  /** Clusters of which something was written. */
  readonly #touched = new Set<number>();
  /** What each of BACKINGS holds now. */
  readonly #images: Map<number, BackingImage>;
  /** Those that were committed to, and whether the last time went well. */
  readonly #bases = new Map<number, 'sure' | 'doubtful'>();
  #ever: Set<BackingImage>;
  readonly #showing = new Set<Backings>();
  #now: number[];

  /** `sectors` of a backing image, of which `cluster` are copied at a time; 0 for a disk that has none. */
  constructor(sectors: number, cluster: number) {
    this.#cluster = cluster;
    this.#now = [sectors > 0 ? BASE : ZERO];
    const image = (value: number): BackingImage => Array.from({ length: sectors }, () => value);
    this.#images = new Map([
      [ZERO, []],
      [BASE, image(BASE)],
      [OTHER_BASE, image(OTHER_BASE)],
    ]);
    this.#ever = new Set([this.#image(this.#now[0]!)]);
  }

  /** Which of BACKINGS may show now; the first of them does unless it is being replaced. */
  get now(): readonly number[] {
    return this.#now;
  }

  /** `to` is to take its place. */
  replaces(to: number): void {
    this.#now.push(to);
    this.#joins(this.#image(to));
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

  /** The present one is to be written to. */
  commits(): void {
    this.#bases.set(this.#now[0]!, 'doubtful');
  }
  /** It was, or in part, and holds `bytes` now: durably, and all that the disk held, where that went well. */
  committed(backing: number, bytes: Uint8Array, ok: boolean): void {
    this.#holds(backing, contentOf(bytes));
    if (!ok) return;
    this.#bases.set(backing, 'sure');
    this.clear();
    // No copy is left of what it, or another, held before.
    this.#ever = new Set([this.#image(backing)]);
  }

  /** Those that were ever written to. */
  get bases(): readonly number[] {
    return [...this.#bases.keys()];
  }
  /** After a power cut one of `bases` holds `bytes`. Throws OracleError. */
  survives(backing: number, bytes: Uint8Array): void {
    const [before, image] = [this.#image(backing), contentOf(bytes)];
    if (this.#bases.get(backing) === 'sure' && !isSame(before, image)) {
      throw new OracleError('after a cut a backing image does not hold what was committed');
    }
    this.#holds(backing, image);
  }

  /** For somebody who looks from now on, until `seen`. */
  showing(): Backings {
    const backings = new Set(this.#now.map((backing) => this.#image(backing)));
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
    // Whoever looks since before may have seen it.
    for (const backings of this.#showing) for (const image of this.#ever) backings.add(image);
    this.#touched.clear();
  }

  /** What the present image holds there. */
  at(sector: number): number {
    return valueAt(this.#image(this.#now[0]!), sector);
  }
  /** None that may show reaches so far. */
  endsBefore(sector: number): boolean {
    return this.#now.every((backing) => this.#image(backing).length <= sector);
  }

  /** What sector `sector` may hold for one who looks, where it holds nothing of its own. */
  allowed(sector: number, backings: Backings): number[] {
    const touched = this.#touched.has(Math.floor(sector / this.#cluster));
    const images = touched ? [...this.#ever, ...backings] : [...backings];
    return [...new Set(images.map((image) => valueAt(image, sector)))];
  }

  #image(backing: number): BackingImage {
    return this.#images.get(backing)!;
  }

  #holds(backing: number, image: BackingImage): void {
    if (isSame(image, this.#image(backing))) return;
    this.#images.set(backing, image);
    if (this.#now.includes(backing)) this.#joins(image);
  }

  #joins(image: BackingImage): void {
    this.#ever.add(image);
    for (const backings of this.#showing) backings.add(image);
  }
}

function isSame(one: BackingImage, other: BackingImage): boolean {
  return one.length === other.length && one.every((value, i) => value === other[i]);
}

function valueAt(image: BackingImage, sector: number): number {
  return image[sector] ?? ZERO;
}

function contentOf(bytes: Uint8Array): BackingImage {
  return Array.from({ length: Math.ceil(bytes.length / SECTOR) }, (_, sector) => {
    const value = sectorValue(bytes, sector * SECTOR, sector);
    if (value === undefined)
      throw new OracleError(`sector ${sector} of a backing image is not whole`);
    return value;
  });
}
