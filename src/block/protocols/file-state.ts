// One open file behind synchronous host calls: the DriverState of `opfs` and of `file`. A request
// whose memory is one span goes straight to the host, guest memory and all; a scattered one passes
// through a bounce buffer, so that either costs one host call. Every answer is a number.

import { EIO, ENOSPC, EROFS, OK } from '../../base/ret.ts';
import type { Ret } from '../../base/ret.ts';
import type { IOVector } from '../../base/io-vector.ts';
import { ANY_RANGE } from '../block-driver.ts';
import type { BlockLimits, Carried, DriverState, Leaving } from '../block-driver.ts';
import type { SyncHandle, SyncTransfer } from './file-sync-handle.ts';

/** Scattered requests move in pieces of this many bytes at most. */
const BOUNCE_BYTES = 1024 * 1024;
const PAGE = 4096;

/** What a file state is made of. */
export interface FileStateParts {
  readonly nodeName: string;
  /** Owned: closed by `close`. */
  readonly handle: SyncHandle;
  readonly readOnly: boolean;
  /** Best multiple for bulk I/O, bytes. */
  readonly optTransfer: number;
  /** The errno, positive, for what the host threw; `undefined` is EIO. */
  errnoOf(error: unknown): number | undefined;
  /** Tells people, once, why the file stopped working. */
  notice(message: string): void;
  /** True when `error` says that the handle is closed for good. */
  isGone(error: unknown): boolean;
  /** When the file was changed last, in the host's units; rejects where the host does not say. */
  modified(): Promise<string>;
  /** Facts to add to `info()`. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** What was found out about the file, for a thread that opens it after this one. */
  readonly carried?: unknown;
  /** Another thread can open the file before this one closes it. */
  readonly sharesHandle?: boolean;
  /** Lets go of what was taken besides the handle (a lock). */
  release(): void;
  /** Another thread of this page can take that over. */
  readonly leaves?: boolean;
}

/** One a thread, since a request that passes through it ends before another begins. */
let bounce: Uint8Array | undefined;
/** Views of it by length in pages, so that a scattered request makes none. */
const bounceViews: (Uint8Array | undefined)[] = [];

export class FileState implements DriverState {
  readonly limits: BlockLimits;
  readonly leave?: () => Leaving;
  readonly #parts: FileStateParts;
  readonly #handle: SyncHandle;
  readonly #transfer: SyncTransfer = { at: 0 };
  #length: number;
  #gone = false;
  #left = false;
  #closed = false;
  #lastError: string | undefined;
  #reads = 0;
  #writes = 0;
  #flushes = 0;
  #bytesRead = 0;
  #bytesWritten = 0;
  #bounced = 0;
  #short = 0;

  constructor(parts: FileStateParts) {
    this.#parts = parts;
    this.#handle = parts.handle;
    this.#length = parts.handle.getSize();
    this.limits = { ...ANY_RANGE, optTransfer: parts.optTransfer };
    if (parts.leaves === true) this.leave = () => this.#leave();
  }

  get length(): number {
    return this.#length;
  }

  preadv(offset: number, qiov: IOVector): Ret {
    if (this.#gone) return -EIO;
    if (qiov.count === 1) return this.#readAt(offset, qiov.segment(0));
    const size = qiov.size;
    for (let done = 0; done < size; done += BOUNCE_BYTES) {
      const piece = bounceOf(Math.min(size - done, BOUNCE_BYTES));
      const ret = this.#readAt(offset + done, piece);
      if (ret < 0) return ret;
      qiov.copyFrom(piece, 0, done, piece.length);
      this.#bounced += piece.length;
    }
    return OK;
  }

  pwritev(offset: number, qiov: IOVector): Ret {
    if (this.#gone) return -EIO;
    if (this.#parts.readOnly) return -EROFS;
    if (qiov.count === 1) return this.#writeAt(offset, qiov.segment(0));
    const size = qiov.size;
    for (let done = 0; done < size; done += BOUNCE_BYTES) {
      const piece = bounceOf(Math.min(size - done, BOUNCE_BYTES));
      qiov.copyTo(piece, 0, done, piece.length);
      this.#bounced += piece.length;
      const ret = this.#writeAt(offset + done, piece);
      if (ret < 0) return ret;
    }
    return OK;
  }

  flush(): Ret {
    if (this.#gone) return -EIO;
    if (this.#parts.readOnly) return OK;
    this.#flushes += 1;
    try {
      this.#handle.flush();
      return OK;
    } catch (error) {
      return this.#failed(error);
    }
  }

  async truncate(length: number): Promise<Ret> {
    if (this.#gone) return -EIO;
    if (this.#parts.readOnly) return -EROFS;
    try {
      this.#handle.truncate(length);
      this.#length = length;
      return OK;
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** A file that nobody writes is known by its date; one that is open for writing has none yet. */
  async generation(): Promise<string | undefined> {
    if (!this.#parts.readOnly) return undefined;
    const modified = await this.#parts.modified().catch(() => undefined);
    return modified === undefined ? undefined : `file-${modified}-${this.#length}`;
  }

  info(): Record<string, unknown> {
    const error = this.#lastError === undefined ? {} : { lastError: this.#lastError };
    return { ...this.#parts.facts, ...error };
  }

  counters(): Record<string, number> {
    return {
      hostReads: this.#reads,
      hostWrites: this.#writes,
      hostFlushes: this.#flushes,
      bytesRead: this.#bytesRead,
      bytesWritten: this.#bytesWritten,
      bytesBounced: this.#bounced,
      shortTransfers: this.#short,
      ...this.#handle.counters?.(),
    };
  }

  ahead(): true | undefined {
    return this.#parts.sharesHandle || undefined;
  }

  carry(): Carried {
    return { data: this.#parts.carried };
  }

  /** Done when it returns, before its promise settles: a page that goes away waits for nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#gone = true;
    // Browsers close a handle in another process, and have us wait for it.
    if (!this.#left || this.#parts.sharesHandle !== true) this.#closeHandle();
    if (!this.#left) this.#parts.release();
  }

  #leave(): Leaving {
    this.#left = true;
    return (takenOver) => {
      this.#closeHandle();
      if (!takenOver || this.#parts.readOnly) this.#parts.release();
    };
  }

  #closeHandle(): void {
    try {
      this.#handle.close();
    } catch (error) {
      this.#lastError = messageOf(error);
    }
  }

  /** Fills `view` from `at` on; bytes past the file's end read as zeroes. */
  #readAt(at: number, view: Uint8Array): Ret {
    let target = view;
    for (let done = 0; done < view.length;) {
      this.#transfer.at = at + done;
      let got: number;
      this.#reads += 1;
      try {
        got = this.#handle.read(target, this.#transfer);
      } catch (error) {
        return this.#failed(error);
      }
      this.#bytesRead += got;
      if (got === target.length) return OK;
      this.#short += 1;
      done += got;
      if (at + done >= this.#length) {
        view.fill(0, done);
        return OK;
      }
      if (got === 0) {
        return this.#failed(
          new Error(`reading ${view.length} bytes at ${at} of ${this.#length} got ${done}`),
        );
      }
      target = view.subarray(done);
    }
    return OK;
  }

  #writeAt(at: number, view: Uint8Array): Ret {
    let source = view;
    for (let done = 0; done < view.length;) {
      this.#transfer.at = at + done;
      let taken: number;
      this.#writes += 1;
      try {
        taken = this.#handle.write(source, this.#transfer);
      } catch (error) {
        return this.#failed(error);
      }
      this.#bytesWritten += taken;
      done += taken;
      if (done < view.length) {
        this.#short += 1;
        // A host that takes nothing and says no more is out of space.
        if (taken === 0) return this.#outOfSpace(at + done);
        source = view.subarray(done);
      }
    }
    if (at + view.length > this.#length) this.#length = at + view.length;
    return OK;
  }

  #outOfSpace(at: number): Ret {
    this.#lastError = `no space to write at ${at}`;
    return -ENOSPC;
  }

  #failed(error: unknown): Ret {
    this.#lastError = messageOf(error);
    if (!this.#gone && this.#parts.isGone(error)) {
      this.#gone = true;
      this.#parts.notice(
        `${this.#parts.nodeName}: the host closed the file while it was in use (${this.#lastError}); ` +
          'all further requests fail',
      );
    }
    return -(this.#parts.errnoOf(error) ?? EIO);
  }
}

function bounceOf(bytes: number): Uint8Array {
  bounce ??= new Uint8Array(BOUNCE_BYTES);
  if (bytes % PAGE !== 0) return bounce.subarray(0, bytes);
  return (bounceViews[bytes / PAGE] ??= bounce.subarray(0, bytes));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
