// What a disk may read as, now and after a power cut. Of each sector the oracle keeps the writes that
// may still show. A write is out of question for readers once a later one was answered that began after
// it was over; it is out of question after a cut once such a later one was covered by a flush. What is
// in flight at the same time may win in any order. Where nothing was written, THROUGH, the backing image
// shows, whichever that is at the time.

import { BackingOracle } from './backing-oracle.ts';
import type { Backings } from './backing-oracle.ts';
import { OracleError } from './oracle-error.ts';
import { endOf, originsOf, settled, superseded } from './sector-change.ts';
import type { Change } from './sector-change.ts';
import { BASE, SECTOR, ZERO, describeSector, sectorValue } from './sector-value.ts';

/** A sector that holds nothing of its own: what is below shows. */
export const THROUGH: number = BASE;
/** Before all that ever was. */
const NONE = -1;

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
  /** Backing images that may show. */
  readonly backings: Backings;
}

/** A commit under way: a copy of the disk into `into`, its backing image. */
export interface Committing {
  readonly into: number;
  readonly began: number;
  readonly copy: Reading;
}

/** A resize under way. */
export interface Resizing {
  readonly wanted: number;
  readonly changes: readonly Change[];
}

export class DiskOracle {
  /** By sector; oldest first. */
  #sectors: Change[][];
  /** Lengths in sectors that a power cut may leave; the last is the present one. */
  #lengths: { readonly sectors: number; done: number }[];
  readonly #readings = new Set<Reading>();
  readonly backing: BackingOracle;
  #tick = 0;
  /** When the last commit began that went well, and when the last of all ended. */
  #committed = NONE;
  #commitEnded = NONE;

  /** A disk in which nothing was written, above `backing`. */
  constructor(sectors: number, backing: BackingOracle) {
    this.backing = backing;
    this.#sectors = Array.from({ length: sectors }, () => [settled([THROUGH], 0)]);
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

  /** All of it is thrown away, so that the backing image shows. */
  empties(): Ticket {
    return this.#change('write', 0, this.sectors, [THROUGH]);
  }

  /** That is over. Where it went well it is as durable as a flush, but nothing that came after it. */
  emptied(ticket: Ticket, ok: boolean): void {
    this.over(ticket, ok);
    if (!ok) return;
    this.backing.clear();
    ticket.changes.forEach((change, sector) => {
      const left = this.#sectors[sector]!.filter((other) => !superseded(other, [change]));
      this.#sectors[sector] = left;
      if (left.length > 1) this.backing.touch(sector);
    });
  }

  /** All of it is put into the backing image, so that nothing changes for who reads it. */
  commits(): Committing {
    const began = ++this.#tick;
    this.#commitEnded = Infinity;
    this.backing.commits();
    return { into: this.backing.now[0]!, began, copy: this.reads(0, this.sectors) };
  }

  /**
   * That is over. Where it went well it is as durable as a flush, the disk is empty but for what came after
   * it, and the backing image, of which `base` is the content, is a copy. Throws OracleError.
   */
  committed({ into, began, copy }: Committing, ok: boolean, base: Uint8Array): void {
    this.#commitEnded = ++this.#tick;
    if (ok) this.copied(copy, base, 'is committed as');
    else this.read(copy, undefined);
    this.backing.committed(into, base, ok);
    if (!ok) return;
    this.flushed(began);
    this.#committed = began;
    this.#sectors.forEach((changes, sector) => {
      if (changes.some(({ done }) => done >= began)) this.backing.touch(sector);
    });
  }

  /** `to`, one of BACKINGS, is to be below, and shows where what was committed was. */
  replaces(to: number): void {
    const at = ++this.#tick;
    this.#sectors.forEach((changes, sector) => {
      const place = this.#placeOf(changes);
      if (place === 'disk' || !this.#mayBeBelow(sector, changes)) return;
      const sure = place === 'base';
      if (sure) this.#sectors[sector] = [];
      this.#add(sector, { values: [THROUGH], issued: at, done: at, sure });
    });
    this.#committed = this.#commitEnded = NONE;
    this.backing.replaces(to);
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
    const reading = { first, issued: ++this.#tick, seen, backings: this.backing.showing() };
    this.#readings.add(reading);
    return reading;
  }

  /** They are there; undefined for a read that failed. Throws OracleError. */
  read(reading: Reading, bytes: Uint8Array | undefined): void {
    this.#readings.delete(reading);
    this.backing.seen(reading.backings);
    if (bytes === undefined) return;
    const done = ++this.#tick;
    reading.seen.forEach((changes, i) => {
      const sector = reading.first + i;
      const values = this.#check(bytes, i * SECTOR, sector, changes, reading.backings, 'reads as');
      // What nobody changed meanwhile stays as it was seen.
      if (changes.length > 1 && changes.every((change) => change.done < reading.issued)) {
        const { issued } = reading;
        const of = changes.flatMap(originsOf);
        this.#sectors[sector]?.push({ values, issued, done, sure: true, of });
      }
    });
  }

  /**
   * `bytes` are a copy of the disk, made since `reading` began, that passes for the disk of one moment: one
   * at which all that it shows was there at once. Throws OracleError.
   */
  copied(reading: Reading, bytes: Uint8Array, how = 'is copied as'): void {
    this.#readings.delete(reading);
    this.backing.seen(reading.backings);
    let [from, until] = [0, Infinity];
    const sectors = Math.min(bytes.length / SECTOR, reading.seen.length);
    for (let sector = 0; sector < sectors; sector++) {
      const changes = reading.seen[sector]!;
      const at = sector * SECTOR;
      const values = this.#check(bytes, at, sector, changes, reading.backings, how);
      const shown = changes.filter((change) =>
        change.values.some((value) => values.includes(value)),
      );
      from = Math.max(from, Math.min(...shown.map(({ issued }) => issued)));
      until = Math.min(until, Math.max(...shown.map((change) => endOf(change, changes))));
      if (from > until)
        throw new OracleError(`a copy of no moment that ever was: see sector ${sector}`);
    }
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
      // Where no backing image reaches, zeroes need not be written: a longer one that comes later shows.
      const bare = this.backing.now.includes(ZERO) || this.backing.endsBefore(sector);
      const values = bare ? [ZERO, THROUGH] : [ZERO];
      const change = { values, issued, done: Infinity, sure: false };
      changes.push(change);
      this.#add(sector, change);
      this.backing.touch(sector);
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
   * After a power cut, or a close: `bytes` is all that the disk holds, opened over `backing`. It may hold
   * nothing else from now on. Throws OracleError.
   */
  reopened(bytes: Uint8Array, backing: number): void {
    const sectors = bytes.length / SECTOR;
    const lengths = this.#lengths.map((length) => length.sectors);
    if (!lengths.includes(sectors)) {
      throw new OracleError(
        `the disk has ${sectors} sectors, and may have ${lengths.join(' or ')}`,
      );
    }
    this.#readings.clear();
    this.backing.opened(backing);
    const backings = this.backing.showing();
    this.#sectors = Array.from({ length: sectors }, (_, sector) => {
      const changes = this.#sectors[sector]!;
      const at = sector * SECTOR;
      const values = this.#check(bytes, at, sector, changes, backings, 'after a cut holds');
      const place = this.#placeOf(changes);
      if (place === 'base') return [settled([THROUGH], this.#tick)];
      const below = sectorValue(bytes, at, sector) === this.backing.at(sector);
      if (place === 'unknown' && below) values.push(THROUGH);
      return [settled(values, this.#tick)];
    });
    this.#committed = this.#commitEnded = NONE;
    this.backing.seen(backings);
    this.#lengths = [{ sectors, done: this.#tick }];
  }

  #change(kind: Ticket['kind'], first: number, count: number, values: readonly number[]): Ticket {
    const issued = ++this.#tick;
    const changes: Change[] = [];
    for (let sector = first; sector < first + count; sector++) {
      const change = { values, issued, done: Infinity, sure: false };
      changes.push(change);
      this.#add(sector, change);
      if (values[0] !== THROUGH) this.backing.touch(sector);
    }
    return { kind, changes };
  }

  /** From now on it may show, in reads under way as well. */
  #add(sector: number, change: Change): void {
    this.#sectors[sector]!.push(change);
    for (const reading of this.#readings) reading.seen[sector - reading.first]?.push(change);
  }

  /** Where commits have left what a sector holds. */
  #placeOf(changes: readonly Change[]): 'disk' | 'base' | 'unknown' {
    const origins = changes.flatMap(originsOf);
    if (origins.every(({ done }) => done < this.#committed)) return 'base';
    return origins.every(({ issued }) => issued > this.#commitEnded) ? 'disk' : 'unknown';
  }

  /** Whether the backing image holds what the disk may hold there. */
  #mayBeBelow(sector: number, changes: readonly Change[]): boolean {
    const below = this.backing.at(sector);
    return changes.some(({ values }) => values.includes(below) || values.includes(THROUGH));
  }

  #current(sector: number): Change[] {
    const changes = this.#sectors[sector]!;
    if (changes.length === 1) return changes.slice();
    const sure = changes.filter((change) => change.sure);
    return changes.filter((change) => !superseded(change, sure));
  }

  /** Throws OracleError where nothing allows what is there; answers what of all that is allowed it can be. */
  #check(
    bytes: Uint8Array,
    at: number,
    sector: number,
    changes: readonly Change[],
    backings: Backings,
    what: string,
  ): number[] {
    const value = sectorValue(bytes, at, sector);
    const allowed = [...new Set(changes.flatMap(({ values }) => values))];
    const below = allowed.includes(THROUGH) ? this.backing.allowed(sector, backings) : [];
    const matches = allowed.filter((one) =>
      one === THROUGH ? value !== undefined && below.includes(value) : one === value,
    );
    if (matches.length > 0) return matches;
    const own = allowed.filter((one) => one !== THROUGH);
    throw new OracleError(
      `sector ${sector} ${what} ${describeSector(bytes, at, sector)}, ` +
        `allowed: ${[...new Set([...own, ...below])].join(', ')} (0 zeroes, ${BASE} backing image)`,
    );
  }
}
