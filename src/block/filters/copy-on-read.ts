// The copy-on-read filter: passes everything on, and has the image below keep what reads fetch from its backing
// image. Over a qcow2 overlay of an http image it makes a disk that is local wherever it was read once.

import type { IOVector } from '../../base/io-vector.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import type { BlockChild } from '../block-child.ts';
import type { BlockDriver, BlockLimits, BlockStatus, DriverState } from '../block-driver.ts';
import {
  ANY_RANGE,
  REQ_COPY_ON_READ,
  REQ_FUA,
  REQ_MAY_UNMAP,
  REQ_NO_FALLBACK,
} from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { OptionReader } from '../option-reader.ts';
import { PERM_WRITE_UNCHANGED, passedOn } from '../permissions.ts';

class CopyOnReadState implements DriverState {
  readonly limits: BlockLimits;
  readonly #file: BlockChild;

  constructor(file: BlockChild) {
    this.#file = file;
    this.limits = {
      ...ANY_RANGE,
      optTransfer: file.limits.optTransfer,
      supportedWriteFlags: REQ_FUA,
      supportedZeroFlags: REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    };
  }

  get length(): number {
    return this.#file.length;
  }
  preadv(offset: number, qiov: IOVector): MaybeRet {
    const status = this.#file.blockStatus(offset, qiov.size);
    const known = !(status instanceof Promise) && typeof status !== 'number';
    // Known to be all in the layer below: a read like any other.
    const there = known && status.bytes === qiov.size && (status.allocated || status.zero);
    return this.#file.preadv(offset, qiov, there ? 0 : REQ_COPY_ON_READ);
  }
  pwritev(offset: number, qiov: IOVector, flags: number): MaybeRet {
    return this.#file.pwritev(offset, qiov, flags);
  }
  pwriteZeroes(offset: number, bytes: number, flags: number): MaybeRet {
    return this.#file.pwriteZeroes(offset, bytes, flags);
  }
  pdiscard(offset: number, bytes: number): MaybeRet {
    return this.#file.pdiscard(offset, bytes);
  }
  blockStatus(offset: number, bytes: number): BlockStatus | Ret | Promise<BlockStatus | Ret> {
    return this.#file.blockStatus(offset, bytes);
  }
  truncate(length: number): Promise<Ret> {
    return this.#file.truncate(length);
  }
  generation(): Promise<string> {
    return this.#file.generation();
  }
  async close(): Promise<void> {}
}

export const driver: BlockDriver<{ readonly file: unknown }> = {
  name: 'copy-on-read',
  kind: 'filter',
  parseOptions(raw) {
    const reader = new OptionReader('copy-on-read', raw);
    const file = reader.any('file');
    reader.end();
    return { file };
  },
  childPermissions(_role, parents) {
    const { perm, shared } = passedOn(parents);
    return { perm: perm | PERM_WRITE_UNCHANGED, shared: shared | PERM_WRITE_UNCHANGED };
  },
  async open(context, options) {
    const file = await context.openChild('filtered', options.file);
    if (!file.node.readOnly) {
      // Loaded with the filter, so that no read has to wait for it.
      await import('../copy-up.ts');
      return new CopyOnReadState(file);
    }
    const message =
      `node '${context.nodeName}': copy-on-read needs an image that can be written to, and ` +
      `'${file.node.filename}' is read-only. Put a qcow2 overlay over it, or say "file.read-only": ` +
      'false where the disk alone is to be read-only';
    throw new BlockError('EROFS', message, { node: context.nodeName });
  },
};
