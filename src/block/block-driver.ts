// What a driver writes. `BlockNode` is its only caller and guarantees: a range inside `length`,
// aligned to `requestAlignment`, at most `maxTransfer`; only flags the driver declared; no call
// before `open` or after `close`. So drivers check nothing twice.

import type { AioContext } from '../aio/aio-context.ts';
import type { IOVector } from '../base/io-vector.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import type { BlockChild, ChildRole } from './block-child.ts';
import type { ImageStreamer } from './image-stream.ts';
import type { Pace } from './pace.ts';
import type { Permissions } from './permissions.ts';

/** What is read from a backing image is to be stored above it (BDRV_REQ_COPY_ON_READ). */
export const REQ_COPY_ON_READ = 0x1;
/** The write changes nothing that anybody sees (BDRV_REQ_WRITE_UNCHANGED). */
export const REQ_WRITE_UNCHANGED = 0x40;
/** The data must be on stable storage before the request completes (BDRV_REQ_FUA). */
export const REQ_FUA = 0x10;
/** `pwriteZeroes` may deallocate (BDRV_REQ_MAY_UNMAP). */
export const REQ_MAY_UNMAP = 0x4;
/** Answer -ENOTSUP rather than write zeroes out slowly (BDRV_REQ_NO_FALLBACK). */
export const REQ_NO_FALLBACK = 0x100;

/** What a driver can take; the node splits, aligns and emulates the rest. Bytes. */
export interface BlockLimits {
  /** Power of two. 1 for drivers that take any range. */
  readonly requestAlignment: number;
  readonly maxTransfer: number;
  /** Best multiple for bulk I/O; 0 for no preference. */
  readonly optTransfer: number;
  readonly pwriteZeroesAlignment: number;
  readonly pdiscardAlignment: number;
  /** Flags that `pwritev` honours itself; the node emulates the others. */
  readonly supportedWriteFlags: number;
  /** Flags that `pwriteZeroes` honours itself. */
  readonly supportedZeroFlags: number;
}

/** Limits of a driver that takes any range and no flags; spread and override. */
export const ANY_RANGE: BlockLimits = {
  requestAlignment: 1,
  maxTransfer: 2 ** 31 - 512,
  optTransfer: 0,
  pwriteZeroesAlignment: 1,
  pdiscardAlignment: 1,
  supportedWriteFlags: 0,
  supportedZeroFlags: 0,
};

/** A run of bytes with one state (bdrv_co_block_status). */
export interface BlockStatus {
  /** Length of the run, bytes; > 0, perhaps less than asked. */
  readonly bytes: number;
  /** This layer defines the contents (BDRV_BLOCK_ALLOCATED). */
  readonly allocated: boolean;
  /** It reads as zeroes (BDRV_BLOCK_ZERO). */
  readonly zero: boolean;
  /** Where the bytes lie in the `file` child, when they lie there as they are. */
  readonly fileOffset?: number;
}

/** What `check` found (qemu-img check). Counts of clusters. */
export interface CheckResult {
  /** Errors that endanger data, as far as they were not repaired. */
  readonly corruptions: number;
  /** Clusters in use by nothing, as far as they were not freed: lost room, no harm. */
  readonly leaks: number;
  /** Errors that were repaired. */
  readonly corruptionsFixed: number;
  /** Clusters that were freed. */
  readonly leaksFixed: number;
  /** Errors of the check itself (an unreadable table). */
  readonly checkErrors: number;
  /** Bytes from the start of the file to the end of the last cluster in use. */
  readonly imageEndOffset: number;
  /** Clusters of the disk that have data in this image. */
  readonly allocatedClusters: number;
  /** Clusters that the disk is long. */
  readonly totalClusters: number;
  /** One line a finding, at most a hundred. */
  readonly messages: readonly string[];
}

/** What goes along when a node moves to another thread. */
export interface Carried {
  /** Structured-cloneable. */
  readonly data: unknown;
  /** Buffers in `data` that are handed over rather than copied. */
  readonly transfer?: readonly ArrayBuffer[];
}

/** What is called when all that an image left behind is over: `DriverState.leave`. */
export type Leaving = (takenOver: boolean) => void;

/** One open image. A method that is absent is emulated by the node, or answered -ENOTSUP. */
export interface DriverState {
  /** Bytes. Changes only in `truncate`. */
  readonly length: number;
  readonly limits: BlockLimits;

  /** Fills `qiov` from `[offset, offset + qiov.size)`. Answers 0 or -errno. */
  preadv(offset: number, qiov: IOVector, flags: number): MaybeRet;
  pwritev?(offset: number, qiov: IOVector, flags: number): MaybeRet;
  /** May answer -ENOTSUP for the node to write zeroes out. */
  pwriteZeroes?(offset: number, bytes: number, flags: number): MaybeRet;
  pdiscard?(offset: number, bytes: number): MaybeRet;
  /**
   * Makes every write that completed before this call durable *in this layer*: a format hands its
   * cached metadata to its children (with flushes between where order matters), a protocol syncs
   * its storage. The node flushes the children afterwards.
   */
  flush?(): MaybeRet;
  /** The state at `offset`; the run may be shorter than `bytes`. A number is a negated errno. */
  blockStatus?(offset: number, bytes: number): BlockStatus | Ret | Promise<BlockStatus | Ret>;
  /** Changes `length`. The node is drained. New bytes read as zeroes (or as the backing file). */
  truncate?(length: number): Promise<Ret>;

  /**
   * Throws away what this layer holds, so that the backing file shows: all of it, or on failure none.
   * Durable. The node is drained.
   */
  makeEmpty?(): Promise<Ret>;
  /**
   * Checks metadata; `fix` repairs leaks, or all that can be. The node is drained. `pace` may end it
   * early, which leaves the image no worse than it was.
   */
  check?(fix: 'none' | 'leaks' | 'all', pace?: Pace): Promise<CheckResult>;
  /**
   * Which version of the contents this is: a text that means these very bytes, now and whenever the
   * image is opened again. Whoever changes them afterwards makes that known on storage first.
   * Covers what shows through of the children. Undefined where there is nowhere to keep it: the node
   * then has one of its own, while it is open. The node is drained and flushed. Throws BlockError.
   */
  generation?(): Promise<string | undefined>;
  /** Facts for people and tools (`query-block`): cluster size, dirty flag, ETag … */
  info?(): Record<string, unknown>;
  /** Running counts for `query-blockstats`: cache hits, host calls … */
  counters?(): Record<string, number>;

  /**
   * What another IOThread needs to open this image as it is now, beyond its options: the data of a
   * disk in memory, an identity that was pinned. Drained, flushed, the last call before `close`.
   */
  carry?(): Carried;
  /**
   * What another IOThread can have of this image while it is still in use here (`BlockDriver.openAhead`), so
   * that less is left to do once it moves there; it takes the place of what `carry` answers. Undefined: nothing.
   * Structured-cloneable, shared memory included.
   */
  ahead?(): unknown;
  /**
   * Has what keeps others out of this image (a lock) stay when it is closed: the thread that it moves to takes
   * that over, so that at no time others find it free. What takes long to close may stay as well. Answers what
   * closes that, and lets go of the rest unless it was taken over; to be called once that is known.
   */
  leave?(): Leaving;
  /**
   * What other IOThreads open this image with while it stays open here, as `OpenContext.carried`: all see
   * the same bytes, and a flush by one covers what any of them wrote. Structured-cloneable. Absent where
   * only one thread may have it; undefined where this opening does not allow it.
   */
  share?(): unknown;

  /** No new requests come until `drainEnd`; stop background work that would make some. */
  drainBegin?(): void;
  drainEnd?(): void;
  /** Makes requests in flight end soon, with -ECANCELED, where the host allows it. */
  cancelInFlight?(): void;
  /** Flushed before; releases host locks and handles. Never throws; idempotent. */
  close(): Promise<void>;
}

/** How much of an image's start `probe` sees, bytes. */
export const PROBE_BYTES = 512;

/** The name of the format, other than raw, that `head` looks like; undefined for none. */
export type HeadGuard = (head: Uint8Array) => string | undefined;

/** How an image is opened. */
export interface OpenFlags {
  /**
   * Turns true when the `file` child turns out to be read-only and nobody asked for more: look at
   * it after `openChild`.
   */
  readonly readOnly: boolean;
  /** `cache.direct`: keep no more data in memory than the driver cannot do without. */
  readonly direct?: boolean;
  /** `force-share`: take no lock. Read-only. */
  readonly forceShare?: boolean;
}

/** What `open` may use. Handed in, so that a driver needs no globals and no registry. */
export interface OpenContext {
  readonly nodeName: string;
  readonly aioContext: AioContext;
  readonly flags: OpenFlags;
  /** Aborts a slow open. Requests later do not look at it. */
  readonly signal: AbortSignal | undefined;
  /** Set where the format was guessed: what a guest's new head would be taken for. */
  readonly headGuard?: HeadGuard | undefined;
  /** Set where the node comes from another thread: what its `carry` or `share` answered there. */
  readonly carried?: unknown;
  /** Set where `openAhead` made something for this opening, which owns it from now on. */
  readonly ahead?: OpenedAhead | undefined;
  /** Set where a node comes from a thread that has left its locks to this one (`DriverState.leave`). */
  readonly takesOver?: boolean;
  /** Tells people something worth knowing that is no failure (a fallback, a repair). */
  notice(message: string): void;
  /**
   * Opens the child that `reference` (an options object, a node name or a file name) describes.
   * `'backing'` children open read-only. Throws BlockError.
   */
  openChild(role: ChildRole, reference: unknown, flags?: Partial<OpenFlags>): Promise<BlockChild>;
  /**
   * Opens a child that an *image* names (a backing file stored in its header), if the caller's
   * policy allows that driver and place. Throws BlockError('EACCES') that says how to allow it.
   */
  openNamedInImage(role: ChildRole, name: string, format: string | undefined): Promise<BlockChild>;
}

/** What a driver has of an image that is still in use on another thread, for an opening that may follow. */
export interface OpenedAhead {
  /** No opening follows. */
  close(): void;
}

/** What `create` may use: the child the new image is written to is made and opened before. */
export interface CreateContext {
  readonly aioContext: AioContext;
  readonly signal: AbortSignal | undefined;
  /** The protocol node to write to, empty and writable. Formats only. */
  readonly file: BlockChild | undefined;
}

/** One entry of the driver registry. Stateless. */
export interface BlockDriver<Options extends object = object> {
  /** The value of `driver=`: 'qcow2', 'opfs', 'http'. */
  readonly name: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  /** Checks untrusted options; throws BlockError('EINVAL') that names the bad or unknown key. */
  parseOptions(raw: Readonly<Record<string, unknown>>): Options;
  /** What the node needs of a child; default `defaultPermissions`. */
  readonly childPermissions?: ((role: ChildRole, parents: Permissions) => Permissions) | undefined;
  /** 0..100: how sure that `head`, an image's first 512 bytes, is this format. */
  probe?(head: Uint8Array): number;
  /** Those of its options that a reopen may change; the others say which image it is. */
  readonly reopenable?: readonly string[];
  /** Throws BlockError; with `create` the only part of a driver that may. */
  open(context: OpenContext, options: Options): Promise<DriverState>;
  /** Makes use of what `DriverState.ahead` answered on the thread that has the image now. Throws BlockError. */
  openAhead?(
    context: Pick<OpenContext, 'nodeName' | 'aioContext' | 'flags'>,
    options: Options,
    data: unknown,
  ): Promise<OpenedAhead>;
  /** Makes a new image of `size` bytes. `raw` are the creation options (QEMU's names). */
  create?(
    context: CreateContext,
    size: number,
    raw: Readonly<Record<string, unknown>>,
  ): Promise<void>;
  /** How an image is written from start to end in one go; formats for which that can be. */
  streamer?(): Promise<ImageStreamer>;
  /**
   * Removes the file that `raw`, the options that `create` took, names (bdrv_co_delete_file).
   * Protocols only; the file is not open here. Throws BlockError: ENOENT, EBUSY …
   */
  remove?(
    context: Omit<CreateContext, 'file'>,
    raw: Readonly<Record<string, unknown>>,
  ): Promise<void>;
}
