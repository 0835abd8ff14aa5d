// A disk in memory that several IOThreads share (`memory` with `share`): one SharedArrayBuffer, which all
// read and write in place. What a request that was answered wrote is seen by every later one on any
// thread, since the answer goes by an atomic store.

import type { IOVector } from '../../base/io-vector.ts';
import { ENOSPC, OK } from '../../base/ret.ts';
import type { Ret } from '../../base/ret.ts';
import { BlockError } from '../block-error.ts';
import { ANY_RANGE, REQ_FUA, REQ_MAY_UNMAP } from '../block-driver.ts';
import type {
  BlockLimits,
  BlockStatus,
  Carried,
  DriverState,
  OpenContext,
  OpenedAhead,
} from '../block-driver.ts';

/** What goes to the other threads. */
interface SharedBytes {
  readonly buffer: SharedArrayBuffer;
  readonly length: number;
}

class SharedMemoryState implements DriverState {
  length: number;
  readonly limits: BlockLimits = {
    ...ANY_RANGE,
    supportedWriteFlags: REQ_FUA,
    supportedZeroFlags: REQ_FUA | REQ_MAY_UNMAP,
  };
  readonly #buffer: SharedArrayBuffer;
  readonly #bytes: Uint8Array;

  constructor({ buffer, length }: SharedBytes) {
    this.length = length;
    this.#buffer = buffer;
    this.#bytes = new Uint8Array(buffer);
  }

  share(): SharedBytes {
    return { buffer: this.#buffer, length: this.length };
  }
  ahead(): SharedArrayBuffer {
    return this.#buffer;
  }
  carry(): Carried {
    return { data: this.share() };
  }

  preadv(offset: number, qiov: IOVector): Ret {
    qiov.copyFrom(this.#bytes, offset, 0, qiov.size);
    return OK;
  }

  pwritev(offset: number, qiov: IOVector): Ret {
    qiov.copyTo(this.#bytes, offset, 0, qiov.size);
    return OK;
  }

  pwriteZeroes(offset: number, bytes: number): Ret {
    this.#bytes.fill(0, offset, offset + bytes);
    return OK;
  }

  pdiscard(offset: number, bytes: number): Ret {
    return this.pwriteZeroes(offset, bytes);
  }

  flush(): Ret {
    return OK;
  }

  blockStatus(_offset: number, bytes: number): BlockStatus {
    return { bytes, allocated: true, zero: false };
  }

  /** It may shrink, and grow again to what was allocated. */
  async truncate(length: number): Promise<Ret> {
    if (length > this.#bytes.length) return -ENOSPC;
    if (length < this.length) this.#bytes.fill(0, length, this.length);
    this.length = length;
    return OK;
  }

  info(): Record<string, unknown> {
    return { allocated: this.#bytes.length, shared: true };
  }

  async close(): Promise<void> {}
}

interface SharedAhead extends OpenedAhead {
  readonly bytes: Pick<SharedBytes, 'buffer'>;
}

/** Shared memory that goes ahead need not be `carried`, which not every way between threads allows. */
export function openAhead(data: unknown): SharedAhead {
  return { bytes: { buffer: data as SharedArrayBuffer }, close() {} };
}

/** Throws BlockError('ENOMEM'), or ENOTSUP where there is no shared memory. */
export function openShared(context: OpenContext, size: number): DriverState {
  const carried = context.carried as SharedBytes | undefined;
  const ahead = context.ahead as Partial<SharedAhead> | undefined;
  const { nodeName: node } = context;
  if (carried !== undefined) return new SharedMemoryState({ ...carried, ...ahead?.bytes });
  if (typeof SharedArrayBuffer === 'undefined') {
    const message = `${node}: 'share' needs shared memory: the page is not cross-origin isolated`;
    throw new BlockError('ENOTSUP', message, { node });
  }
  try {
    return new SharedMemoryState({ buffer: new SharedArrayBuffer(size), length: size });
  } catch (cause) {
    const message = `${node}: there are no ${size} bytes of shared memory for 'share'`;
    throw new BlockError('ENOMEM', message, { node, cause });
  }
}
