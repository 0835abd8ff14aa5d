// The opfs driver: an image in the origin's private file system, behind a sync access handle, so
// that reads and writes go straight between guest memory and the file. One writer per file in the
// whole browser: a Web Lock first, then the handle.

import { EIO, errorCode } from '../../base/ret.ts';
import { BlockError } from '../block-error.ts';
import type { BlockDriver, DriverState, OpenContext } from '../block-driver.ts';
import { FileState } from './file-state.ts';
import type { SyncHandle } from './file-sync-handle.ts';
import { hasDatabase } from './idb-has.ts';
import { browserOpfs } from './opfs-environment.ts';
import type { OpfsEnvironment, OpfsFileHandle } from './opfs-environment.ts';
import { errnoOfOpfs, isHandleGone } from './opfs-errno.ts';
import { withFallback } from './opfs-fallback.ts';
import type { FallbackOptions } from './opfs-fallback.ts';
import { canceled, lockOpfsPath } from './opfs-lock.ts';
import { findOpfsFile, openOpfsHandle } from './opfs-open.ts';
import type { OpfsAhead, OpfsOpenRequest } from './opfs-open.ts';
import { OptionReader } from '../option-reader.ts';

export interface OpfsOptions {
  /** Names joined by '/'; directories but for the last. */
  readonly path: string;
  /** Makes the file, and its directories, where it is missing. */
  readonly create: boolean;
  /** Length of a file that is made now (or was made and never written), bytes. */
  readonly size: number | undefined;
  /** For several IOThreads; see `opfs-shared.ts`. */
  readonly share: boolean;
}

/** What another thread found out about a file that it had open until now: `DriverState.carry`. */
interface FoundBefore {
  readonly slow: boolean;
}

/** 4 KiB reads that all take longer go through another process (a private window), nanoseconds. */
const SLOW_READ_NS = 100_000;
const PROBE_READS = 5;
const PROBE_BYTES = 4096;
/** Firefox pays 20 to 150 µs a call whatever its length. */
const OPT_TRANSFER = 64 * 1024;
const OPT_TRANSFER_SLOW = 256 * 1024;

/** The driver over a given browser; without IndexedDB to fall back on. */
export function opfsDriver(environment: OpfsEnvironment): BlockDriver<OpfsOptions> {
  return {
    name: 'opfs',
    kind: 'protocol',
    parseOptions,
    async open(context, options) {
      if (!options.share) return openState(environment, context, options);
      const { openShared } = await import('./opfs-shared.ts');
      return openShared(opfsDriver, environment, context, options);
    },
    async openAhead(context, options) {
      const { openAhead } = await import('./opfs-ahead.ts');
      return openAhead(environment, context, options);
    },
    async create(context, size, raw) {
      const { createFile } = await import('./opfs-files.ts');
      await createFile(environment, context, size, raw);
    },
    async remove(context, raw) {
      const { removeFile } = await import('./opfs-files.ts');
      await removeFile(environment, context, raw);
    },
  };
}

export const driver: BlockDriver<FallbackOptions> = withFallback(
  opfsDriver(browserOpfs),
  browserOpfs,
  {
    has: hasDatabase,
    load: async () => (await import('./idb.ts')).driver,
  },
);

function parseOptions(raw: Readonly<Record<string, unknown>>): OpfsOptions {
  const reader = new OptionReader('opfs', raw);
  const path = parsePath(reader);
  const create = reader.boolean('create') ?? false;
  const size = reader.size('size');
  const share = reader.boolean('share') ?? false;
  if (size !== undefined && !create) throw reader.bad('size', "given together with 'create'");
  reader.end();
  return { path, create, size, share };
}

/** One spelling for one file, since the lock goes by it. */
export function parsePath(reader: OptionReader): string {
  const path = reader.string('path');
  if (path === undefined) throw reader.bad('path', 'given');
  const names = path.replace(/^\/+/, '').split('/');
  if (names.some((name) => name === '' || name === '.' || name === '..')) {
    throw reader.bad('path', "names joined by '/', none of them empty, '.' or '..'");
  }
  return names.join('/');
}

async function openState(
  environment: OpfsEnvironment,
  context: OpenContext,
  options: OpfsOptions,
): Promise<DriverState> {
  const { nodeName, flags } = context;
  const before = context.carried as FoundBefore | undefined;
  if (flags.readOnly && options.create) {
    const message = `${nodeName}: opfs path '${options.path}' cannot be created read-only`;
    throw new BlockError('EINVAL', message, { node: nodeName });
  }
  const file = await take(environment, {
    environment,
    aioContext: context.aioContext,
    nodeName,
    path: options.path,
    // A file that moves is there, or is lost: an empty one is not to take its place.
    create: options.create && before === undefined,
    readOnly: flags.readOnly,
    forceShare: flags.forceShare,
    takesOver: context.takesOver === true && !flags.readOnly,
    ahead: context.ahead as OpfsAhead | undefined,
    signal: context.signal,
  });
  try {
    const { handle } = file;
    if (options.size !== undefined && handle.getSize() === 0) handle.truncate(options.size);
    const readNs = before === undefined ? leastReadNs(handle, () => context.aioContext.now()) : 0;
    const sharesHandle = handle.mode === 'readwrite-unsafe' || handle.mode === 'read-only';
    const slow = before?.slow ?? readNs > SLOW_READ_NS;
    return new FileState({
      nodeName,
      handle: slow ? await batched(context, handle, readNs) : handle,
      readOnly: flags.readOnly,
      optTransfer: slow ? OPT_TRANSFER_SLOW : OPT_TRANSFER,
      errnoOf: errnoOfOpfs,
      isGone: isHandleGone,
      notice: (message) => context.notice(message),
      modified: async () => String((await file.file.getFile()).lastModified),
      facts: { path: options.path, slow, lock: file.locked ? 'web-lock' : 'handle' },
      carried: { slow } satisfies FoundBefore,
      sharesHandle,
      release: file.release,
      leaves: flags.readOnly ? sharesHandle : file.locked,
    });
  } catch (cause) {
    file.handle.close();
    file.release();
    throw setUpFailure(nodeName, options.path, cause);
  }
}

/** A file that nobody else has open. */
export interface TakenFile {
  readonly file: OpfsFileHandle;
  readonly handle: SyncHandle;
  readonly locked: boolean;
  readonly release: () => void;
}

/** Lock, then handle; neither when either fails. */
export async function take(
  environment: OpfsEnvironment,
  request: OpfsOpenRequest,
): Promise<TakenFile> {
  const { signal, path, nodeName, takesOver = false } = request;
  if (isAborted(signal)) throw canceled(path, nodeName, signal!);
  const { ahead } = request;
  // What is there already can be looked for while the lock is waited for.
  const looking = ahead !== undefined || request.create ? undefined : findOpfsFile(request);
  looking?.catch(() => {});
  // A lock that was left to this thread is taken last: until then, it keeps others out where it is.
  const release = ahead?.release ?? (takesOver ? undefined : await lock(environment, request));
  try {
    const file = ahead?.file ?? (await (looking ?? findOpfsFile(request)));
    const handle = ahead?.handle ?? (await openOpfsHandle(request, file));
    if (isAborted(signal)) {
      handle.close();
      throw canceled(path, nodeName, signal!);
    }
    const locked = environment.locks() !== undefined;
    return { file, handle, locked, release: release ?? (await lock(environment, request)) };
  } catch (error) {
    release?.();
    throw error;
  }
}

/** Answers what lets go of it; does nothing in browsers without locks. */
export async function lock(
  environment: OpfsEnvironment,
  request: OpfsOpenRequest,
): Promise<() => void> {
  const locks = environment.locks();
  if (locks === undefined || request.forceShare === true) return () => {};
  return lockOpfsPath({ ...request, locks, shared: request.readOnly });
}

/** Asked anew after each wait, which the compiler would not believe of a property. */
function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

/** Few windows are private, so few have to load it. A `readNs` of 0 was told by another thread. */
async function batched(
  context: OpenContext,
  handle: SyncHandle,
  readNs: number,
): Promise<SyncHandle> {
  const { BatchedHandle, slowStorage } = await import('./batched-handle.ts');
  if (readNs > 0) context.notice(slowStorage(context.nodeName, readNs));
  return new BatchedHandle(handle);
}

/** What a read costs here: the least of a few, nanoseconds, since a busy machine makes more of any. */
function leastReadNs(handle: SyncHandle, now: () => number): number {
  const target = new Uint8Array(PROBE_BYTES);
  let least = Infinity;
  for (let i = 0; i < PROBE_READS; i++) {
    const start = now();
    handle.read(target, { at: 0 });
    least = Math.min(least, now() - start);
  }
  return least;
}

/** What failed once the file was open. */
export function setUpFailure(node: string, path: string, cause: unknown): BlockError {
  const code = errorCode(-(errnoOfOpfs(cause) ?? EIO));
  return new BlockError(code, `${node}: cannot set up opfs path '${path}': ${String(cause)}`, {
    node,
    cause,
  });
}
