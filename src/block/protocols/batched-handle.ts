// A sync access handle whose every call is dear, as in a private window, where each crosses to another
// process: reads are served from windows of 256 KiB, fetched ahead where they go on from the last one, and
// small writes stay there until a flush, or until room is needed. A flush means what it always did.

import { LruList } from '../../base/lru.ts';
import type { SyncHandle, SyncTransfer } from './file-sync-handle.ts';

/** What is read and written in one call where things go on in order, bytes. */
export const WINDOW_BYTES: number = 256 * 1024;
/** What is read where they do not: it costs twice what a page does. */
const PIECE_BYTES = 64 * 1024;
/** 8 MiB of them. */
const WINDOWS = 32;

/** Part of the file in memory; offsets are from the window's start. */
interface Window {
  index: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** `[from, to)` is as in the file, but for `[dirtyFrom, dirtyTo)`, which is newer. */
  from: number;
  to: number;
  dirtyFrom: number;
  dirtyTo: number;
}

/** Tells why node `node` has one: a read of 4 KiB takes `readNs` nanoseconds. */
export function slowStorage(node: string, readNs: number): string {
  return (
    `${node}: storage is slow here (${Math.round(readNs / 1000)} µs for 4 KiB), as in ` +
    'private windows, which also forget everything; so it is read and written in batches'
  );
}

export class BatchedHandle implements SyncHandle {
  readonly #handle: SyncHandle;
  readonly #windows: Window[] = [];
  readonly #slots = new Map<number, number>();
  readonly #most: number;
  readonly #lru: LruList;
  readonly #transfer: SyncTransfer = { at: 0 };
  #size: number;
  /** Where the last read ended. */
  #next = 0;
  #reads = 0;
  #writes = 0;

  /** Owns `handle`. `windows`: in memory at most. */
  constructor(handle: SyncHandle, windows: number = WINDOWS) {
    this.#handle = handle;
    this.#most = windows;
    this.#lru = new LruList(windows);
    this.#size = handle.getSize();
  }

  /** What reached the host, where FileState counts what was asked for. */
  counters(): Record<string, number> {
    return { hostReads: this.#reads, hostWrites: this.#writes };
  }

  getSize(): number {
    return this.#size;
  }

  read(buffer: Uint8Array, { at }: SyncTransfer): number {
    const end = Math.min(at + buffer.length, this.#size);
    if (end <= at) return 0;
    if (end - at >= WINDOW_BYTES) {
      this.#writeBack(at, end);
      this.#next = end;
      return this.#readAt(at, buffer);
    }
    for (let from = at; from < end;) {
      const window = this.#loaded(from, end);
      const start = window.index * WINDOW_BYTES;
      const to = Math.min(end, start + window.to);
      if (to <= from) return from - at; // The file is shorter than it was.
      buffer.set(window.bytes.subarray(from - start, to - start), from - at);
      this.#next = from = to;
    }
    return end - at;
  }

  write(buffer: Uint8Array, { at }: SyncTransfer): number {
    const end = at + buffer.length;
    if (buffer.length >= WINDOW_BYTES || end > this.#size) {
      this.#writeBack(at, end);
      this.#forget(at, end);
      const taken = this.#writeAt(at, buffer);
      this.#size = Math.max(this.#size, at + taken);
      return taken;
    }
    for (let from = at; from < end;) {
      const index = Math.floor(from / WINDOW_BYTES);
      const start = index * WINDOW_BYTES;
      const to = Math.min(end, start + WINDOW_BYTES);
      const window = this.#forWriting(index, from - start, to - start);
      window.bytes.set(buffer.subarray(from - at, to - at), from - start);
      const clean = window.dirtyFrom === window.dirtyTo;
      window.dirtyFrom = clean ? from - start : Math.min(window.dirtyFrom, from - start);
      window.dirtyTo = clean ? to - start : Math.max(window.dirtyTo, to - start);
      from = to;
    }
    return buffer.length;
  }

  truncate(size: number): void {
    this.#writeBack(0, Infinity);
    this.#forget(Math.min(size, this.#size), Infinity);
    this.#handle.truncate(size);
    this.#size = size;
  }

  flush(): void {
    this.#writeBack(0, Infinity);
    this.#handle.flush();
  }

  close(): void {
    try {
      this.#writeBack(0, Infinity);
    } finally {
      this.#handle.close();
    }
  }

  /** The window that holds the byte at `at`, with all that it can have of `[at, end)`. */
  #loaded(at: number, end: number): Window {
    const index = Math.floor(at / WINDOW_BYTES);
    const from = at - index * WINDOW_BYTES;
    const to = Math.min(end - index * WINDOW_BYTES, WINDOW_BYTES);
    const window = this.#window(index);
    if (from < window.from || from > window.to || window.from === window.to) {
      this.#clean(window);
      const ahead = at === this.#next;
      window.from = window.to = ahead ? 0 : from - (from % PIECE_BYTES);
      this.#extend(window, ahead ? WINDOW_BYTES : Math.ceil(to / PIECE_BYTES) * PIECE_BYTES);
    } else if (to > window.to) this.#extend(window, WINDOW_BYTES);
    return window;
  }

  #extend(window: Window, to: number): void {
    const bytes = window.bytes.subarray(window.to, to);
    window.to += this.#readAt(window.index * WINDOW_BYTES + window.to, bytes);
  }

  /** The window, whose `[from, to)` is about to be written, and valid as one range afterwards. */
  #forWriting(index: number, from: number, to: number): Window {
    const window = this.#window(index);
    if (from > window.to || to < window.from) {
      this.#clean(window);
      window.from = window.to = from;
    }
    window.from = Math.min(window.from, from);
    window.to = Math.max(window.to, to);
    return window;
  }

  /** The window, perhaps with nothing valid in it. */
  #window(index: number): Window {
    const there = this.#slots.get(index);
    if (there !== undefined) {
      this.#lru.touch(there);
      return this.#windows[there]!;
    }
    let slot = this.#windows.length;
    if (slot < this.#most) {
      const bytes = new Uint8Array(WINDOW_BYTES);
      this.#windows.push({ index, bytes, from: 0, to: 0, dirtyFrom: 0, dirtyTo: 0 });
    } else {
      slot = this.#lru.oldest;
      const victim = this.#windows[slot]!;
      this.#clean(victim);
      this.#slots.delete(victim.index);
      Object.assign(victim, { index, from: 0, to: 0 });
    }
    this.#slots.set(index, slot);
    this.#lru.touch(slot);
    return this.#windows[slot]!;
  }

  /** Writes what is dirty in the windows that `[from, to)` touches, in the order of the file. */
  #writeBack(from: number, to: number): void {
    const touched = this.#windows.filter((window) => touches(window, from, to));
    for (const window of touched.sort((a, b) => a.index - b.index)) this.#clean(window);
  }

  #clean(window: Window): void {
    while (window.dirtyFrom < window.dirtyTo) {
      const bytes = window.bytes.subarray(window.dirtyFrom, window.dirtyTo);
      const taken = this.#writeAt(window.index * WINDOW_BYTES + window.dirtyFrom, bytes);
      if (taken === 0)
        throw Object.assign(new Error('nothing was taken'), { name: 'QuotaExceededError' });
      window.dirtyFrom += taken;
    }
  }

  /** Nothing in `[from, to)` is as in the file any more. What was dirty was written. */
  #forget(from: number, to: number): void {
    for (const window of this.#windows) if (touches(window, from, to)) window.from = window.to = 0;
  }

  #readAt(at: number, buffer: Uint8Array): number {
    this.#reads += 1;
    this.#transfer.at = at;
    return this.#handle.read(buffer, this.#transfer);
  }

  #writeAt(at: number, buffer: Uint8Array): number {
    this.#writes += 1;
    this.#transfer.at = at;
    return this.#handle.write(buffer, this.#transfer);
  }
}

function touches({ index }: Window, from: number, to: number): boolean {
  return index * WINDOW_BYTES < to && (index + 1) * WINDOW_BYTES > from;
}
