// What a served path stands for: bytes in memory or a file on disk, with a size and a strong entity
// tag. A tag changes whenever the bytes may have.

import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { Readable } from 'node:stream';
import type { ByteRange } from './byte-range.ts';

/** Contents in memory, or the path of a file, which is looked at anew for every request. */
export type FileContents = { readonly bytes: Uint8Array } | { readonly path: string };

/** One representation, as it is at this moment. */
export interface ByteSource {
  /** Bytes. */
  readonly size: number;
  /** Strong, with its quotes (RFC 9110 section 8.8.3). */
  readonly etag: string;
  /** A fresh stream of the bytes in `range`. */
  stream(range: ByteRange): Readable;
}

const tagOfBytes = new WeakMap<Uint8Array, string>();

/** Looks at `contents` now. Throws Node's error where a file is missing. */
export function openByteSource(contents: FileContents): ByteSource {
  return 'bytes' in contents ? memorySource(contents.bytes) : fileSource(contents.path);
}

function memorySource(bytes: Uint8Array): ByteSource {
  let etag = tagOfBytes.get(bytes);
  if (etag === undefined) {
    etag = `"${createHash('sha256').update(bytes).digest('hex').slice(0, 32)}"`;
    tagOfBytes.set(bytes, etag);
  }
  return {
    size: bytes.length,
    etag,
    stream: ({ first, last }) => {
      // One chunk at a time, so that a fault in the middle of a body has a middle to strike.
      let at = first;
      return new Readable({
        read() {
          const end = Math.min(at + 65_536, last + 1);
          this.push(at > last ? null : Buffer.from(bytes.subarray(at, end)));
          at = end;
        },
      });
    },
  };
}

function fileSource(path: string): ByteSource {
  const { size, mtimeMs, ino } = statSync(path);
  return {
    size,
    etag: `"${ino.toString(36)}-${size.toString(36)}-${Math.round(mtimeMs * 1000).toString(36)}"`,
    stream: ({ first, last }) =>
      first > last ? Readable.from([]) : createReadStream(path, { start: first, end: last }),
  };
}
