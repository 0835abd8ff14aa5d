// The bytes of the file as they are, or a window on them (`offset`, `size`). Where the format was
// guessed, the first 512 bytes may not be made to look like another format: the guest could
// otherwise have the next open take its data for an image that names files of the host.

import type { IOVector } from '../../base/io-vector.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import type { BlockChild } from '../block-child.ts';
import type { BlockDriver, BlockLimits, BlockStatus, DriverState } from '../block-driver.ts';
import {
  ANY_RANGE,
  PROBE_BYTES,
  REQ_FUA,
  REQ_MAY_UNMAP,
  REQ_NO_FALLBACK,
} from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { OptionReader } from '../option-reader.ts';
import { passedOn } from '../permissions.ts';

/** Writes what begins in the head. */
type HeadWrite = (offset: number, qiov: IOVector, flags: number) => MaybeRet;

export interface RawOptions {
  readonly file: unknown;
  /** Where the image starts in the file, bytes. */
  readonly offset: number;
  /** Length of the image, bytes; all the rest of the file when undefined. */
  readonly size: number | undefined;
}

class RawState implements DriverState {
  readonly limits: BlockLimits;
  /** Absent for a window, which has the size it was given. */
  readonly truncate?: (length: number) => Promise<Ret>;
  readonly #file: BlockChild;
  readonly #offset: number;
  readonly #size: number | undefined;
  /** Set where the format was guessed. */
  writeHead: HeadWrite | undefined;

  constructor(file: BlockChild, options: RawOptions) {
    this.#file = file;
    this.#offset = options.offset;
    this.#size = options.size;
    if (options.size === undefined) {
      this.truncate = (length) => file.truncate(options.offset + length);
    }
    // The child aligns, splits and emulates by itself, so anything may be passed on.
    this.limits = {
      ...ANY_RANGE,
      optTransfer: file.limits.optTransfer,
      supportedWriteFlags: REQ_FUA,
      supportedZeroFlags: REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    };
  }

  get length(): number {
    return this.#size ?? Math.max(this.#file.length - this.#offset, 0);
  }

  preadv(offset: number, qiov: IOVector): MaybeRet {
    return this.#file.preadv(this.#offset + offset, qiov, 0);
  }

  pwritev(offset: number, qiov: IOVector, flags: number): MaybeRet {
    if (offset < PROBE_BYTES && this.writeHead !== undefined) {
      return this.writeHead(offset, qiov, flags);
    }
    return this.#file.pwritev(this.#offset + offset, qiov, flags);
  }

  pwriteZeroes(offset: number, bytes: number, flags: number): MaybeRet {
    return this.#file.pwriteZeroes(this.#offset + offset, bytes, flags);
  }

  pdiscard(offset: number, bytes: number): MaybeRet {
    return this.#file.pdiscard(this.#offset + offset, bytes);
  }

  blockStatus(offset: number, bytes: number): BlockStatus | Ret | Promise<BlockStatus | Ret> {
    const at = this.#offset + offset;
    const mapped = (status: BlockStatus | Ret): BlockStatus | Ret =>
      typeof status === 'number' ? status : { ...status, allocated: true, fileOffset: at };
    const status = this.#file.blockStatus(at, bytes);
    return status instanceof Promise ? status.then(mapped) : mapped(status);
  }

  async generation(): Promise<string> {
    const all = await this.#file.generation();
    const whole = this.#offset === 0 && this.#size === undefined;
    return whole ? all : `${all}@${this.#offset}+${this.length}`;
  }

  /** It keeps nothing that its file does not. */
  share(): unknown {
    return {};
  }

  async close(): Promise<void> {}
}

export const driver: BlockDriver<RawOptions> = {
  name: 'raw',
  kind: 'format',
  parseOptions(raw) {
    const reader = new OptionReader('raw', raw);
    const file = reader.any('file');
    const offset = reader.size('offset') ?? 0;
    const size = reader.size('size');
    reader.end();
    return { file, offset, size };
  },
  reopenable: ['offset', 'size'],
  childPermissions: (_role, parents) => passedOn(parents),
  /** Anything may be raw; every other format is likelier. */
  probe: () => 1,
  async open(context, options) {
    const file = await context.openChild('file', options.file);
    const { offset, size } = options;
    if (offset > file.length || (size !== undefined && offset + size > file.length)) {
      const message =
        `raw: offset ${offset} and size ${size ?? 0} lie outside the file of ` +
        `${file.length} bytes`;
      throw new BlockError('EINVAL', message, { node: context.nodeName });
    }
    const state = new RawState(file, options);
    if (context.headGuard !== undefined) {
      const { guardHead } = await import('./raw-head.ts');
      state.writeHead = guardHead(file, offset, state, context.headGuard);
    }
    return state;
  },
  streamer: async () => ({
    plan: (size) => ({ length: size, parts: () => [{ offset: 0, length: size }] }),
  }),
  create: async (...args) => (await import('./raw-create.ts')).create(...args),
};
