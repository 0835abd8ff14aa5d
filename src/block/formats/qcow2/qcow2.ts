// The qcow2 driver, versions 2 and 3 (QEMU's docs/interop/qcow2.txt). Not supported, and refused by
// name: compressed clusters, internal snapshots (read-only opens), extended L2 entries, encryption,
// external data files. README.md in this folder tells how the parts fit together.

import type { IOVector } from '../../../base/io-vector.ts';
import { ECANCELED, OK, andThen } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';
import { ANY_RANGE, REQ_MAY_UNMAP, REQ_WRITE_UNCHANGED } from '../../block-driver.ts';
import type { BlockDriver, BlockLimits, BlockStatus, CheckResult, DriverState } from '../../block-driver.ts'; // prettier-ignore
import { BlockError } from '../../block-error.ts';
import type { Pace } from '../../pace.ts';
import { blockStatus } from './block-status.ts';
import { pdiscard, pwriteZeroes } from './deallocate.ts';
import type { Generation } from './generation.ts';
import type { Qcow2Image } from './image.ts';
import { openImage } from './open.ts';
import { parseOptions } from './options.ts';
import type { Qcow2Options } from './options.ts';
import { preadv } from './read.ts';
import { INCOMPAT_DIRTY, QCOW2_MAGIC } from './spec.ts';
import { pwritev } from './write.ts';

export type { Qcow2Options } from './options.ts';

class Qcow2State implements DriverState {
  readonly limits: BlockLimits;
  readonly #image: Qcow2Image;
  readonly #generation: Generation;
  #closed = false;

  constructor(image: Qcow2Image) {
    this.#image = image;
    this.#generation = image.generation;
    this.limits = {
      ...ANY_RANGE,
      optTransfer: image.clusterSize,
      pwriteZeroesAlignment: image.clusterSize,
      pdiscardAlignment: image.clusterSize,
      supportedWriteFlags: REQ_WRITE_UNCHANGED,
      supportedZeroFlags: REQ_MAY_UNMAP | REQ_WRITE_UNCHANGED,
    };
  }

  get length(): number {
    return this.#image.length;
  }

  preadv(offset: number, qiov: IOVector): MaybeRet {
    const ret = preadv(this.#image, offset, qiov);
    return typeof ret === 'number' ? ret : this.#image.freed.track(ret);
  }

  pwritev(offset: number, qiov: IOVector, flags: number): MaybeRet {
    if (this.#generation.sealed && (flags & REQ_WRITE_UNCHANGED) === 0) {
      return andThen(this.#generation.unseal(), () =>
        qiov.region.revoked ? -ECANCELED : this.pwritev(offset, qiov, flags),
      );
    }
    const ret = pwritev(this.#image, offset, qiov);
    return typeof ret === 'number' ? ret : this.#image.freed.track(ret);
  }

  pwriteZeroes(offset: number, bytes: number, flags: number): MaybeRet {
    const mayUnmap = (flags & REQ_MAY_UNMAP) !== 0;
    if ((flags & REQ_WRITE_UNCHANGED) !== 0)
      return pwriteZeroes(this.#image, offset, bytes, mayUnmap);
    return this.#change(() => pwriteZeroes(this.#image, offset, bytes, mayUnmap));
  }

  pdiscard(offset: number, bytes: number): MaybeRet {
    return this.#change(() => pdiscard(this.#image, offset, bytes));
  }

  flush(): MaybeRet {
    return this.#image.readOnly ? 0 : this.#image.writeBack();
  }

  blockStatus(offset: number, bytes: number): BlockStatus | Ret | Promise<BlockStatus | Ret> {
    return blockStatus(this.#image, offset, bytes);
  }

  async truncate(length: number): Promise<Ret> {
    const { truncate } = await import('./resize.ts');
    return this.#change(() => truncate(this.#image, length));
  }

  async makeEmpty(): Promise<Ret> {
    const { makeEmpty } = await import('./make-empty.ts');
    return this.#change(() => makeEmpty(this.#image));
  }

  /** Freeing leaks leaves the guest's disk as it is; mending tables may not. */
  async check(fix: 'none' | 'leaks' | 'all', pace?: Pace): Promise<CheckResult> {
    const { check } = await import('./check.ts');
    const ret = await (fix === 'all' ? this.#change(() => OK) : OK);
    if (ret < 0) throw BlockError.fromRet(ret, `${this.#image.node}: check`, this.#image.node);
    return check(this.#image, fix, pace);
  }

  /** This layer's version and the backing file's, which shows through. */
  async generation(): Promise<string | undefined> {
    const { backing, file, readOnly } = this.#image;
    let own = await this.#generation.seal();
    if (readOnly) own ??= await file.generation();
    if (own === undefined || backing === undefined) return own;
    return `${own}+${await backing.generation()}`;
  }

  info(): Record<string, unknown> {
    const { header, clusterSize, lazyRefcounts, dirtyBit, corrupt, backing } = this.#image;
    return {
      compat: header.version === 3 ? '1.1' : '0.10',
      'cluster-size': clusterSize,
      'lazy-refcounts': lazyRefcounts,
      'refcount-bits': 2 ** header.refcountOrder,
      dirty: dirtyBit,
      corrupt,
      'compression-type': header.compressionType === 1 ? 'zstd' : 'zlib',
      'extended-l2': false,
      'backing-filename': header.backingFile,
      'backing-filename-format': header.backingFormat,
      'backing-length': backing?.length,
      generation: this.#generation.stored,
    };
  }

  counters(): Record<string, number> {
    const { l1, map, refcounts, cowBytes, freed } = this.#image;
    return {
      // Of L2 tables and refcount blocks, bounded by 'cache-size'; then what is always in memory.
      cacheMemory: map.cache.memory + refcounts.cache.memory,
      tableMemory: l1.bytes.length + refcounts.table.length,
      l2Hits: map.cache.hits,
      l2Misses: map.cache.misses,
      l2Evictions: map.cache.evictions,
      refcountHits: refcounts.cache.hits,
      refcountMisses: refcounts.cache.misses,
      refcountEvictions: refcounts.cache.evictions,
      cowBytes,
      allocatedClusters: refcounts.allocated,
      bytesToFree: freed.bytes,
    };
  }

  /** Runs `operation`, which changes what the guest sees. */
  #change(operation: () => MaybeRet): MaybeRet {
    return this.#generation.sealed ? andThen(this.#generation.unseal(), operation) : operation();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#image.readOnly) await closeCleanly(this.#image);
  }
}

/** Writes what is left, gives back the room at the end of the file, clears the dirty bit. */
async function closeCleanly(image: Qcow2Image): Promise<void> {
  await image.marked();
  if (image.corrupt) return;
  const written = await image.writeBack(true);
  const synced = written < 0 ? written : await image.file.flush();
  if (synced < 0) {
    image.notice(`${image.node}: qcow2: the last tables could not be written`);
    return;
  }
  if (image.file.length > image.allocatedEnd) await image.file.truncate(image.allocatedEnd);
  if (image.dirtyBit) {
    await image.changeFeatures(0n, INCOMPAT_DIRTY);
    await image.file.flush();
  }
}

export const driver: BlockDriver<Qcow2Options> = {
  name: 'qcow2',
  kind: 'format',
  parseOptions,
  reopenable: ['cache-size', 'l2-cache-size', 'refcount-cache-size', 'lazy-refcounts'],
  probe(head) {
    if (head.length < 8) return 0;
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    return view.getUint32(0) === QCOW2_MAGIC && view.getUint32(4) >= 2 ? 100 : 0;
  },
  async open(context, options) {
    return new Qcow2State(await openImage(context, options));
  },
  streamer: async () => (await import('./stream.ts')).qcow2Streamer,
  async create(context, size, raw) {
    const { createImage, parseCreateOptions } = await import('./create.ts');
    await createImage(context.file!, size, parseCreateOptions(raw));
  },
};
