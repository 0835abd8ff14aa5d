// A file on simulated storage: what its readers see, and what a power cut would leave. Of each sector it
// keeps every version since the last flush, and the file's lengths; a cut picks one of each, so writes
// are lost, reordered and torn between sectors, as by a disk with a write cache. A sector is never
// torn in itself: that is what disks promise, and what qcow2 relies on.

import type { Prng } from '../testing/prng.ts';
import { SECTOR } from './sector-value.ts';

interface Version {
  readonly serial: number;
  readonly bytes: Uint8Array;
}

/** Bytes on their way to the file. */
export interface Landing {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export class SimFile {
  readonly name: string;
  /** Bytes that requests are aligned to. */
  readonly requestAlignment: number;
  /** Opens that were not closed, and whether one of them may write. */
  handles = 0;
  locked = false;
  /** Requests under way, and those that ever came. */
  inFlight = 0;
  requests = 0;
  /** Grows with each power cut: who opened it before has a dead handle. */
  life = 0;
  /** Writes that were issued and did not reach the cache yet. */
  readonly landing: Set<Landing> = new Set<Landing>();
  #bytes: Uint8Array;
  #length: number;
  #durable: Uint8Array;
  /** The length at the last flush, then every one since, with when it was. */
  #lengths: { readonly serial: number; readonly length: number }[];
  #serial = 0;
  /** By sector, oldest first. */
  readonly #versions = new Map<number, Version[]>();

  constructor(name: string, content: Uint8Array, requestAlignment = 1) {
    this.name = name;
    this.requestAlignment = requestAlignment;
    this.#bytes = grown(content, content.length);
    this.#durable = this.#bytes.slice();
    this.#length = content.length;
    this.#lengths = [{ serial: 0, length: content.length }];
  }

  get length(): number {
    return this.#length;
  }

  /** Copies `[offset, offset + target.length)`. */
  read(offset: number, target: Uint8Array): void {
    target.set(this.#bytes.subarray(offset, offset + target.length));
  }

  /** All that its readers see. */
  content(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** Puts bytes into the cache. Those behind the end are dropped: the file was cut meanwhile. */
  write({ offset, bytes }: Landing): void {
    const fits = Math.min(bytes.length, this.#length - offset);
    if (fits <= 0) return;
    this.#bytes.set(bytes.subarray(0, fits), offset);
    this.#changed(offset, fits);
  }

  /** Those sectors of a write only that `keep` says. */
  writePart(landing: Landing, keep: () => boolean): void {
    const { offset, bytes } = landing;
    for (let at = 0; at < bytes.length;) {
      const take = Math.min(SECTOR - ((offset + at) % SECTOR), bytes.length - at);
      if (keep()) this.write({ offset: offset + at, bytes: bytes.subarray(at, at + take) });
      at += take;
    }
  }

  truncate(length: number): void {
    const before = this.#length;
    if (length > this.#bytes.length) {
      this.#bytes = grown(this.#bytes, length);
      this.#durable = grown(this.#durable, length);
    }
    if (length < before) {
      this.#bytes.fill(0, length, before);
      this.#changed(length, before - length);
    }
    this.#length = length;
    this.#lengths.push({ serial: ++this.#serial, length });
  }

  /** What a flush that begins now covers. */
  get mark(): number {
    return this.#serial;
  }

  /** Makes durable what was there at `mark`, but for what a canary holds back. */
  persist(
    mark: number,
    heldBack: (bytes: Uint8Array, serial: number) => boolean = () => false,
  ): void {
    for (const [sector, versions] of this.#versions) {
      const covered = versions.filter(({ serial }) => serial <= mark);
      if (covered.some(({ bytes, serial }) => heldBack(bytes, serial))) continue;
      const last = covered.at(-1);
      if (last === undefined) continue;
      this.#keep(sector, last);
      if (covered.length === versions.length) this.#versions.delete(sector);
      else this.#versions.set(sector, versions.slice(covered.length));
    }
    while (this.#lengths.length > 1 && this.#lengths[1]!.serial <= mark) this.#lengths.shift();
  }

  /** The power fails: what survives is all there is from now on. */
  cut(prng: Prng): void {
    const keep = prng.pick([0, 20, 50, 80, 100]);
    for (const landing of this.landing) this.writePart(landing, () => prng.chance(keep));
    this.landing.clear();
    for (const [sector, versions] of this.#versions) {
      const last = prng.chance(80);
      if (prng.chance(keep)) this.#keep(sector, last ? versions.at(-1)! : prng.pick(versions));
      const from = sector * SECTOR;
      this.#bytes.set(this.#durable.subarray(from, from + SECTOR), from);
    }
    this.#versions.clear();
    const { length } = prng.chance(keep) ? this.#lengths.at(-1)! : prng.pick(this.#lengths);
    const longest = Math.max(...this.#lengths.map((at) => at.length));
    this.#durable.fill(0, length, longest);
    this.#bytes.fill(0, length, longest);
    this.#length = length;
    this.#lengths = [{ serial: this.#serial, length }];
    this.life += 1;
    this.handles = this.inFlight = 0;
    this.locked = false;
  }

  #changed(offset: number, bytes: number): void {
    const serial = ++this.#serial;
    const last = Math.floor((offset + bytes - 1) / SECTOR);
    for (let sector = Math.floor(offset / SECTOR); sector <= last; sector++) {
      const versions = this.#versions.get(sector) ?? [];
      const from = sector * SECTOR;
      versions.push({ serial, bytes: this.#bytes.slice(from, from + SECTOR) });
      this.#versions.set(sector, versions);
    }
  }

  #keep(sector: number, { bytes }: Version): void {
    this.#durable.set(bytes, sector * SECTOR);
  }
}

function grown(bytes: Uint8Array, length: number): Uint8Array {
  const size = Math.max(Math.ceil(length / SECTOR) * SECTOR, 2 * bytes.length);
  const made = new Uint8Array(size);
  made.set(bytes);
  return made;
}
