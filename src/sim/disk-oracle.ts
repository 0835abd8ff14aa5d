// What a disk may read as, now and after a power cut. Of each sector the oracle keeps the writes that
// may still show. A write is out of question for readers once a later one was answered that began after
// it was over; it is out of question after a cut once such a later one was covered by a flush. What is
// in flight at the same time may win in any order.

import { SECTOR, ZERO, describeSector, sectorValue } from './sector-value.ts';

/** One change of one sector. */
interface Change {
  /** What the sector may hold by it. */
  readonly values: readonly number[];
  /** When it was asked for, and when it was over; ticks of the oracle. */
  readonly issued: number;
  done: number;
  /** It was answered with success, and took effect for certain. */
  sure: boolean;
}

/** A request under way. */
export interface Ticket {
  readonly kind: 'write' | 'discard';
  readonly changes: readonly Change[];
}

/** A read under way. */
export interface Reading {
  readonly first: number;
  readonly issued: number;
  /** By sector from `first` on: changes that may show. */
  readonly seen: Change[][];
}

/** A resize under way. */
export interface Resizing {
  readonly wanted: number;
  readonly changes: readonly Change[];
}

/** A broken promise. */
export class OracleError extends Error {
  override readonly name = 'OracleError';
}

export class DiskOracle {
  /** By sector; oldest first. */
  #sectors: Change[][];
  /** Lengths in sectors that a power cut may leave; the last is the present one. */
  #lengths: { readonly sectors: number; done: number }[];
  readonly #readings = new Set<Reading>();
  #tick = 0;

  /** A disk of which every sector holds what `valueOf` says, durably. */
  constructor(sectors: number, valueOf: (sector: number) => number) {
    this.#sectors = Array.from({ length: sectors }, (_, i) => [settled([valueOf(i)], 0)]);
    this.#lengths = [{ sectors, done: 0 }];
  }

  get sectors(): number {
    return this.#lengths.at(-1)!.sectors;
  }
  /** Now, for those who will tell later that something began here. */
  get now(): number {
    return ++this.#tick;
  }

  /** A write of `value`, or of zeroes, is asked for. */
  write(first: number, count: number, value: number): Ticket {
    return this.#change('write', first, count, [value]);
  }

  /** A discard: what it covers reads as before, or as zeroes. */
  discard(first: number, count: number): Ticket {
    return this.#change('discard', first, count, [ZERO]);
  }

  /** A write or discard is over. One that failed may have done any part of its work. */
  over({ kind, changes }: Ticket, ok: boolean): void {
    const done = ++this.#tick;
    for (const change of changes) {
      change.done = done;
      change.sure = ok && kind === 'write';
    }
  }

  /** A flush that began at `began` was answered with success. */
  flushed(began: number): void {
    this.#tick += 1;
    this.#sectors = this.#sectors.map((changes) => {
      const covering = changes.filter((change) => change.sure && change.done < began);
      return changes.filter((change) => !superseded(change, covering));
    });
    const stable = this.#lengths.filter(({ done }) => done < began).at(-1);
    this.#lengths = this.#lengths.filter((length) => length.done >= began || length === stable);
  }

  /** Sectors `[first, first + count)` are asked for. */
  reads(first: number, count: number): Reading {
    const seen = Array.from({ length: count }, (_, i) => this.#current(first + i));
    const reading = { first, issued: ++this.#tick, seen };
    this.#readings.add(reading);
    return reading;
  }

  /** They are there; undefined for a read that failed. Throws OracleError. */
  read(reading: Reading, bytes: Uint8Array | undefined): void {
    this.#readings.delete(reading);
    if (bytes === undefined) return;
    const done = ++this.#tick;
    reading.seen.forEach((changes, i) => {
      const sector = reading.first + i;
      const value = this.#check(bytes, i * SECTOR, sector, changes, 'reads as');
      // What nobody changed meanwhile stays as it was seen.
      if (changes.length > 1 && changes.every((change) => change.done < reading.issued)) {
        const { issued } = reading;
        this.#sectors[sector]?.push({ values: [value], issued, done, sure: true });
      }
    });
  }

  /**
   * The disk is to have `sectors`; a cut may leave as many from now on. What is new, or was cut off,
   * holds zeroes when it shows again.
   */
  resizes(wanted: number): Resizing {
    const issued = ++this.#tick;
    const before = this.sectors;
    this.#lengths.unshift({ sectors: wanted, done: Infinity });
    while (this.#sectors.length < wanted) this.#sectors.push([settled([ZERO], 0)]);
    const changes: Change[] = [];
    for (let sector = Math.min(before, wanted); sector < Math.max(before, wanted); sector++) {
      const change = { values: [ZERO], issued, done: Infinity, sure: false };
      changes.push(change);
      this.#add(sector, change);
    }
    return { wanted, changes };
  }

  /** It has `sectors` now. */
  resized({ wanted, changes }: Resizing, sectors: number): void {
    const done = ++this.#tick;
    this.#lengths.find((length) => length.done === Infinity)!.done = done;
    this.#lengths.push({ sectors, done });
    for (const change of changes) {
      change.done = done;
      change.sure = sectors === wanted;
    }
  }

  /**
   * After a power cut, or a close: `bytes` is all that the disk holds. It may hold nothing else from
   * now on. Throws OracleError.
   */
  reopened(bytes: Uint8Array): void {
    const sectors = bytes.length / SECTOR;
    const lengths = this.#lengths.map((length) => length.sectors);
    if (!lengths.includes(sectors)) {
      throw new OracleError(
        `the disk has ${sectors} sectors, and may have ${lengths.join(' or ')}`,
      );
    }
    this.#readings.clear();
    this.#sectors = Array.from({ length: sectors }, (_, sector) => {
      const changes = this.#sectors[sector]!;
      const value = this.#check(bytes, sector * SECTOR, sector, changes, 'after a cut holds');
      return [settled([value], this.#tick)];
    });
    this.#lengths = [{ sectors, done: this.#tick }];
  }

  #change(kind: Ticket['kind'], first: number, count: number, values: readonly number[]): Ticket {
    const issued = ++this.#tick;
    const changes: Change[] = [];
    for (let sector = first; sector < first + count; sector++) {
      const change = { values, issued, done: Infinity, sure: false };
      changes.push(change);
      this.#add(sector, change);
    }
    return { kind, changes };
  }

  /** From now on it may show, in reads under way as well. */
  #add(sector: number, change: Change): void {
    this.#sectors[sector]!.push(change);
    for (const reading of this.#readings) reading.seen[sector - reading.first]?.push(change);
  }

  #current(sector: number): Change[] {
    const changes = this.#sectors[sector]!;
    if (changes.length === 1) return changes.slice();
    const sure = changes.filter((change) => change.sure);
    return changes.filter((change) => !superseded(change, sure));
  }

  #check(
    bytes: Uint8Array,
    at: number,
    sector: number,
    changes: readonly Change[],
    what: string,
  ): number {
    const value = sectorValue(bytes, at, sector);
    if (value !== undefined && changes.some(({ values }) => values.includes(value))) return value;
    const allowed = new Set(changes.flatMap(({ values }) => values));
    throw new OracleError(
      `sector ${sector} ${what} ${describeSector(bytes, at, sector)}, ` +
        `allowed: ${[...allowed].join(', ')} (0 zeroes, 1 backing image)`,
    );
  }
}

function settled(values: readonly number[], at: number): Change {
  return { values, issued: at, done: at, sure: true };
}

function superseded(change: Change, by: readonly Change[]): boolean {
  return by.some((later) => change.done < later.issued);
}
