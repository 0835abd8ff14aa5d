// The blob driver: an image in a File or Blob that the page holds, such as one that a person chose or
// dropped. Read-only. The object itself travels in the options, through structured clone.

import type { BlockDriver, DriverState, OpenContext } from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { OptionReader } from '../option-reader.ts';
import { BlobState } from './blob-state.ts';

export interface BlobOptions {
  readonly blob: Blob;
  /** What is read and kept in one piece, bytes; a power of two. */
  readonly chunkSize: number;
  /** Memory for chunks, bytes; at least one. */
  readonly cacheSize: number;
}

const MIN_CHUNK = 64 * 1024;
const MAX_CHUNK = 1024 * 1024;
const CHUNK_SIZE = 256 * 1024;
const CACHE_SIZE = 16 * 1024 * 1024;
const MAX_CACHE = 1024 * 1024 * 1024;

export const driver: BlockDriver<BlobOptions> = {
  name: 'blob',
  kind: 'protocol',

  parseOptions(raw) {
    const reader = new OptionReader('blob', raw);
    const blob = reader.any('blob');
    if (!(blob instanceof Blob)) throw reader.bad('blob', 'a Blob or a File');
    const chunkSize = reader.size('chunk-size', MIN_CHUNK, MAX_CHUNK) ?? CHUNK_SIZE;
    if (!Number.isInteger(Math.log2(chunkSize))) throw reader.bad('chunk-size', 'a power of two');
    const cacheSize = reader.size('cache-size', chunkSize, MAX_CACHE) ?? CACHE_SIZE;
    reader.end();
    return { blob, chunkSize, cacheSize };
  },

  async open(context: OpenContext, options: BlobOptions): Promise<DriverState> {
    if (!context.flags.readOnly) {
      throw new BlockError('EROFS', `${context.nodeName}: a blob cannot be written`, {
        node: context.nodeName,
      });
    }
    const { chunkSize } = options;
    const kept = context.flags.direct === true ? { ...options, cacheSize: chunkSize } : options;
    return new BlobState(context.nodeName, kept, (message) => context.notice(message));
  },
};
