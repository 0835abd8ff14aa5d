// Copies a disk into a new one that reads as zeroes: runs that are zero are skipped, by what the
// source says of them or by looking at the bytes; the others move in large pieces, several at a time
// where answers take time. Memory: PIECES buffers of PIECE_BYTES at most, whatever the disk.

import { IOVector } from '../../base/io-vector.ts';
import type { Ret } from '../../base/ret.ts';
import type { BlockBackend } from '../block-backend.ts';
import { BlockError } from '../block-error.ts';
import { blockStatusAbove } from '../chain-status.ts';
import { roundUp } from '../shaping.ts';
import type { Job } from './job.ts';
import { writeData } from './write-data.ts';

/** Moved by one request at most, bytes. */
export const PIECE_BYTES: number = 1024 * 1024;
/** Pieces under way at most. */
export const PIECES = 8;

/** Both stay open, and are left with nothing of ours in flight but reads of an aborted job. */
export interface CopyParts {
  readonly source: BlockBackend;
  readonly target: BlockBackend;
  /** Bytes. */
  readonly length: number;
  readonly job: Job;
}

/** Resolves when all is copied; not flushed. Throws BlockError, or the job's `signal.reason`. */
export function copyDisk(parts: CopyParts): Promise<void> {
  return new Copy(parts).run();
}

class Copy {
  readonly #parts: CopyParts;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  readonly #pending = new Set<Promise<void>>();
  #buffers = 0;
  #done = 0;
  #error: BlockError | undefined;
  #over = false;

  constructor(parts: CopyParts) {
    this.#parts = parts;
  }

  async run(): Promise<void> {
    const { source, length, job } = this.#parts;
    try {
      for (let at = 0; at < length && this.#error === undefined;) {
        await job.pace.breathe();
        const status = await job.wait(blockStatusAbove(source, at, length - at));
        if (typeof status === 'number') throw this.#failure('block status', status, at, source);
        if (status.zero) this.#finish(status.bytes);
        else await this.#copyRun(at, at + status.bytes);
        at += status.bytes;
      }
      while (this.#pending.size > 0) await job.wait(Promise.race(this.#pending));
    } finally {
      this.#over = true;
    }
    if (this.#error !== undefined) throw this.#error;
  }

  /** Starts all pieces of a run; the last ones may be under way when it resolves. */
  async #copyRun(start: number, end: number): Promise<void> {
    const { job } = this.#parts;
    for (let at = start; at < end && this.#error === undefined;) {
      await job.pace.breathe();
      // Pieces end where a multiple of their size does, so that clusters are written whole.
      const bytes = Math.min(roundUp(at + 1, PIECE_BYTES), end) - at;
      const buffer = this.#free.pop() ?? this.#newBuffer();
      if (buffer === undefined) {
        await job.wait(Promise.race(this.#pending));
        continue;
      }
      const copied = this.#copyPiece(at, bytes, buffer);
      if (copied !== undefined) {
        this.#pending.add(copied);
        void copied.then(() => this.#pending.delete(copied));
      }
      at += bytes;
    }
  }

  #newBuffer(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#buffers === PIECES) return undefined;
    this.#buffers += 1;
    return new Uint8Array(PIECE_BYTES);
  }

  /** Undefined when it is over already. Never rejects. */
  #copyPiece(
    at: number,
    bytes: number,
    buffer: Uint8Array<ArrayBuffer>,
  ): Promise<void> | undefined {
    const { source, target } = this.#parts;
    const piece = buffer.subarray(0, bytes);
    const ended = (side: BlockBackend, ret: Ret): void => {
      this.#free.push(buffer);
      if (ret >= 0) this.#finish(bytes);
      else this.#error ??= this.#failure(`${bytes} bytes`, ret, at, side);
    };
    const write = (ret: Ret): Promise<void> | undefined => {
      if (ret < 0 || this.#over) return void ended(source, Math.min(ret, 0));
      const written = writeData(target, at, piece);
      if (typeof written !== 'number') return written.then((later) => ended(target, later));
      return void ended(target, written);
    };
    const ret = source.preadv(at, IOVector.of(piece));
    return typeof ret === 'number' ? write(ret) : ret.then(write);
  }

  #finish(bytes: number): void {
    this.#done += bytes;
    if (!this.#over) this.#parts.job.progress(this.#done, this.#parts.length);
  }

  #failure(what: string, ret: Ret, at: number, side: BlockBackend): BlockError {
    const node = side.root?.name ?? side.name;
    const verb = side === this.#parts.source ? 'reading' : 'writing';
    return BlockError.fromRet(ret, `${verb} ${what} at ${at}, node '${node}'`, node);
  }
}
