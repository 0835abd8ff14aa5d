// A sync access handle over a file descriptor of Node's, and what its errors mean.

import * as fs from 'node:fs';
import { EINVAL, ENOSPC, errnoOf } from '../../base/ret.ts';
import type { ErrorCode } from '../../base/ret.ts';
import type { SyncHandle, SyncTransfer } from './file-sync-handle.ts';

/** Node's errors that have another name here. */
const ALIASES: Readonly<Record<string, number>> = {
  EDQUOT: ENOSPC,
  EISDIR: EINVAL,
  ENOTDIR: EINVAL,
  ELOOP: EINVAL,
  ENAMETOOLONG: EINVAL,
};

export class FileHandle implements SyncHandle {
  readonly #fd: number;
  #closed = false;

  /** Owns `fd`. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  get fd(): number {
    return this.#fd;
  }

  /** The same for every name of the file. */
  get identity(): string {
    return identityOf(fs.fstatSync(this.#fd));
  }

  read(buffer: Uint8Array, transfer: SyncTransfer): number {
    return fs.readSync(this.#fd, buffer, 0, buffer.length, transfer.at);
  }
  write(buffer: Uint8Array, transfer: SyncTransfer): number {
    return fs.writeSync(this.#fd, buffer, 0, buffer.length, transfer.at);
  }
  truncate(size: number): void {
    fs.ftruncateSync(this.#fd, size);
  }
  getSize(): number {
    return fs.fstatSync(this.#fd).size;
  }
  /** When it was written last, nanoseconds since 1970. */
  modified(): bigint {
    return fs.fstatSync(this.#fd, { bigint: true }).mtimeNs;
  }
  flush(): void {
    fs.fsyncSync(this.#fd);
  }
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    fs.closeSync(this.#fd);
  }
}

/** Device and inode. */
export function identityOf({ dev, ino }: fs.Stats): string {
  return `${dev}:${ino}`;
}

/** The errno, positive, of an error of `node:fs`; undefined for those that are EIO. */
export function errnoOfNode(error: unknown): number | undefined {
  const code = codeOf(error);
  return ALIASES[code] ?? errnoOf(code as ErrorCode);
}

/** True when the descriptor is no more. */
export function isDescriptorGone(error: unknown): boolean {
  return codeOf(error) === 'EBADF';
}

function codeOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
}
