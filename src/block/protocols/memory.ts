// A disk in memory. It costs what was written to it: pages come with the first write and go with a
// discard, so that a disk of a terabyte is as cheap as its contents. It answers at once.

import type { IOVector } from '../../base/io-vector.ts';
import { ENOMEM, OK } from '../../base/ret.ts';
import type { Ret } from '../../base/ret.ts';
import { ANY_RANGE, REQ_FUA, REQ_MAY_UNMAP } from '../block-driver.ts';
import type {
  BlockDriver,
  BlockLimits,
  BlockStatus,
  Carried,
  DriverState,
} from '../block-driver.ts';
import { OptionReader } from '../option-reader.ts';

export interface MemoryOptions {
  /** Bytes. */
  readonly size: number;
  /** All of it in shared memory, allocated at once, so that several IOThreads can serve it. */
  readonly share: boolean;
}

/** What memory comes in, bytes; a guest's page, so that most requests copy whole ones. */
const PAGE = 4096;
/** Pages are cut from slabs of this many bytes, and used again when discarded. */
const SLAB_PAGES = 64;
const SLAB = SLAB_PAGES * PAGE;
/** Pages of one table. */
const TABLE_PAGES = 1024;
const TABLE_BYTES = TABLE_PAGES * PAGE;

type Table = (Uint8Array | undefined)[];

/** A disk's contents on their way to another thread: where in which slab each of its pages lies. */
interface CarriedPages {
  readonly length: number;
  readonly slabs: readonly ArrayBuffer[];
  /** Page numbers in the disk, and in the slabs put one after the other. */
  readonly pages: Float64Array<ArrayBuffer>;
  readonly places: Float64Array<ArrayBuffer>;
}

class MemoryState implements DriverState {
  length: number;
  readonly limits: BlockLimits = {
    ...ANY_RANGE,
    supportedWriteFlags: REQ_FUA,
    supportedZeroFlags: REQ_FUA | REQ_MAY_UNMAP,
  };
  readonly #tables = new Map<number, Table>();
  /** Zeroed pages for use. */
  #free: Uint8Array[] = [];
  #pages = 0;
  // The table used last: requests keep to one place for a while.
  #lastIndex = -1;
  #last: Table | undefined;

  /** `carried`: the contents to begin with; taken over. */
  constructor(length: number, carried?: CarriedPages) {
    this.length = carried?.length ?? length;
    if (carried !== undefined) this.#adopt(carried);
  }

  carry(): Carried {
    const slabs = new Map<ArrayBufferLike, number>();
    for (const page of this.#free) if (!slabs.has(page.buffer)) slabs.set(page.buffer, slabs.size);
    const pages = new Float64Array(this.#pages);
    const places = new Float64Array(this.#pages);
    let count = 0;
    for (const [tableIndex, table] of this.#tables) {
      table.forEach((page, index) => {
        if (page === undefined) return;
        if (!slabs.has(page.buffer)) slabs.set(page.buffer, slabs.size);
        pages[count] = tableIndex * TABLE_PAGES + index;
        places[count] = slabs.get(page.buffer)! * SLAB_PAGES + page.byteOffset / PAGE;
        count += 1;
      });
    }
    const transfer = [...slabs.keys()] as ArrayBuffer[];
    const data: CarriedPages = { length: this.length, slabs: transfer, pages, places };
    return { data, transfer };
  }

  preadv(offset: number, qiov: IOVector): Ret {
    const target = qiov.region.bytes;
    let at = offset;
    for (let i = 0; i < qiov.count; i++) {
      let to = qiov.offsetOf(i);
      const end = to + qiov.lengthOf(i);
      while (to < end) {
        const within = at % PAGE;
        const bytes = Math.min(PAGE - within, end - to);
        const page = this.#page(at);
        if (page === undefined) target.fill(0, to, to + bytes);
        else if (bytes === PAGE) target.set(page, to);
        else target.set(page.subarray(within, within + bytes), to);
        to += bytes;
        at += bytes;
      }
    }
    return OK;
  }

  pwritev(offset: number, qiov: IOVector): Ret {
    const { region } = qiov;
    let at = offset;
    for (let i = 0; i < qiov.count; i++) {
      let from = qiov.offsetOf(i);
      const end = from + qiov.lengthOf(i);
      while (from < end) {
        const within = at % PAGE;
        const bytes = Math.min(PAGE - within, end - from);
        const page = this.#page(at) ?? this.#addPage(at);
        if (page === undefined) return -ENOMEM;
        page.set(region.view(from, bytes), within);
        from += bytes;
        at += bytes;
      }
    }
    return OK;
  }

  pwriteZeroes(offset: number, bytes: number): Ret {
    this.#dropRange(offset, bytes);
    return OK;
  }

  pdiscard(offset: number, bytes: number): Ret {
    this.#dropRange(offset, bytes);
    return OK;
  }

  flush(): Ret {
    return OK;
  }

  blockStatus(offset: number, bytes: number): BlockStatus {
    const zero = this.#page(offset) === undefined;
    const end = offset + bytes;
    let at = offset;
    while (at < end) {
      const table = this.#table(at);
      if (table === undefined && zero) at = nextMultiple(at, TABLE_BYTES);
      else if ((table?.[pageIndex(at)] === undefined) === zero) at = nextMultiple(at, PAGE);
      else break;
    }
    return { bytes: Math.min(at, end) - offset, allocated: true, zero };
  }

  async truncate(length: number): Promise<Ret> {
    if (length < this.length) this.#dropRange(length, this.length - length);
    this.length = length;
    return OK;
  }

  info(): Record<string, unknown> {
    return { allocated: this.#pages * PAGE };
  }

  async close(): Promise<void> {
    this.#tables.clear();
    this.#free = [];
    this.#last = undefined;
    this.#lastIndex = -1;
    this.#pages = 0;
  }

  #adopt({ slabs, pages, places }: CarriedPages): void {
    const used = new Set<number>(places);
    pages.forEach((page, i) => {
      const place = places[i]!;
      const slab = slabs[Math.floor(place / SLAB_PAGES)]!;
      this.#put(page * PAGE, new Uint8Array(slab, (place % SLAB_PAGES) * PAGE, PAGE));
    });
    slabs.forEach((slab, index) => {
      for (let i = 0; i < SLAB_PAGES; i++) {
        if (used.has(index * SLAB_PAGES + i)) continue;
        this.#free.push(new Uint8Array(slab, i * PAGE, PAGE));
      }
    });
  }

  #table(offset: number): Table | undefined {
    const index = Math.floor(offset / TABLE_BYTES);
    if (index !== this.#lastIndex) {
      this.#last = this.#tables.get(index);
      this.#lastIndex = index;
    }
    return this.#last;
  }

  #page(offset: number): Uint8Array | undefined {
    return this.#table(offset)?.[pageIndex(offset)];
  }

  /** A new page at `offset`; undefined when the host has no memory left. */
  #addPage(offset: number): Uint8Array | undefined {
    if (this.#free.length === 0 && !this.#addSlab()) return undefined;
    const page = this.#free.pop()!;
    this.#put(offset, page);
    return page;
  }

  #put(offset: number, page: Uint8Array): void {
    let table = this.#table(offset);
    if (table === undefined) {
      table = new Array<Uint8Array | undefined>(TABLE_PAGES);
      this.#tables.set(this.#lastIndex, table);
      this.#last = table;
    }
    table[pageIndex(offset)] = page;
    this.#pages += 1;
  }

  #addSlab(): boolean {
    let slab: Uint8Array;
    try {
      slab = new Uint8Array(SLAB);
    } catch {
      return false;
    }
    for (let at = 0; at < SLAB; at += PAGE) this.#free.push(slab.subarray(at, at + PAGE));
    return true;
  }

  /** Zeroes a range: whole pages go back, parts of pages are cleared, holes are skipped by tables. */
  #dropRange(offset: number, bytes: number): void {
    const end = offset + bytes;
    // Over more tables than there are, look at those that exist.
    if (bytes / TABLE_BYTES > this.#tables.size + 1) {
      for (const index of [...this.#tables.keys()]) {
        const start = index * TABLE_BYTES;
        const from = Math.max(start, offset);
        const to = Math.min(start + TABLE_BYTES, end);
        if (from < to) this.#dropPages(from, to);
      }
    } else this.#dropPages(offset, end);
  }

  #dropPages(offset: number, end: number): void {
    for (let at = offset; at < end;) {
      const table = this.#table(at);
      if (table === undefined) {
        at = nextMultiple(at, TABLE_BYTES);
        continue;
      }
      const stop = Math.min(nextMultiple(at, PAGE), end);
      const page = table[pageIndex(at)];
      if (page !== undefined) {
        page.fill(0, at % PAGE, (at % PAGE) + stop - at);
        if (stop - at === PAGE) {
          table[pageIndex(at)] = undefined;
          this.#free.push(page);
          this.#pages -= 1;
        }
      }
      at = stop;
    }
  }
}

function pageIndex(offset: number): number {
  return Math.floor(offset / PAGE) % TABLE_PAGES;
}

function nextMultiple(offset: number, step: number): number {
  return offset - (offset % step) + step;
}

export const driver: BlockDriver<MemoryOptions> = {
  name: 'memory',
  kind: 'protocol',
  parseOptions(raw) {
    const reader = new OptionReader('memory', raw);
    const size = reader.size('size') ?? 0;
    const share = reader.boolean('share') ?? false;
    reader.end();
    return { size, share };
  },
  async open(context, options) {
    if (options.share) {
      const { openShared } = await import('./shared-memory.ts');
      return openShared(context, options.size);
    }
    return new MemoryState(options.size, context.carried as CarriedPages | undefined);
  },
  async openAhead(_context, _options, data) {
    const { openAhead } = await import('./shared-memory.ts');
    return openAhead(data);
  },
};
