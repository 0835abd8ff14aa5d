// From a path to a sync access handle: walks the directories, and keeps trying while another tab
// lets go of the file, since a handle outlives its page for a moment (whatwg/fs#17).

import type { AioContext } from '../../aio/aio-context.ts';
import type { ErrorCode } from '../../base/ret.ts';
import { BlockError } from '../block-error.ts';
import type { SyncHandle } from './file-sync-handle.ts';
import type { OpfsDirectory, OpfsEnvironment, OpfsFileHandle } from './opfs-environment.ts';
import { busy, canceled } from './opfs-lock.ts';

/** A second in all. Short at first: a disk that moves has just been let go of by another thread. */
const TRIES = 21;
const FIRST_PAUSE_NS = 1_000_000;
const LONGEST_PAUSE_NS = 64_000_000;

export interface OpfsOpenRequest {
  readonly environment: OpfsEnvironment;
  readonly aioContext: AioContext;
  readonly nodeName: string;
  /** Names joined by '/', none empty. */
  readonly path: string;
  /** Makes the file and its directories where they are missing. */
  readonly create: boolean;
  readonly readOnly: boolean;
  /** Takes no lock; the browser may still refuse a handle. */
  readonly forceShare?: boolean | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The exceptions that opening throws: errno, and words for people. */
const REASONS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  NotFoundError: ['ENOENT', "there is no such file (option 'create' makes one)"],
  TypeMismatchError: ['EINVAL', 'a directory is where a file is meant, or the other way round'],
  TypeError: ['EINVAL', 'the browser does not allow such a name'],
  NotAllowedError: ['EACCES', 'the browser denies storage to this page'],
  SecurityError: [
    'EACCES',
    'the browser denies storage to this page (private window, blocked data)',
  ],
  QuotaExceededError: ['ENOSPC', "the origin's storage is full"],
  NotSupportedError: ['ENOTSUP', 'this browser has no synchronous access to files'],
};

/** Opens `file`. The caller closes the handle. Throws BlockError. */
export async function openOpfsHandle(
  request: OpfsOpenRequest,
  file: OpfsFileHandle,
): Promise<SyncHandle> {
  const { path, nodeName: node, signal } = request;
  if (file.createSyncAccessHandle === undefined) {
    throw new BlockError(
      'ENOTSUP',
      `${node}: opfs path '${path}' needs createSyncAccessHandle, which browsers have in ` +
        'dedicated workers only: open the disk on an IOThread. The idb driver does without it',
      { node },
    );
  }
  let mode = request.readOnly ? 'read-only' : 'readwrite';
  for (let tried = 1; ; tried++) {
    if (signal?.aborted === true) throw canceled(path, node, signal);
    try {
      return await file.createSyncAccessHandle({ mode });
    } catch (cause) {
      // Browsers that know no modes: the exclusive default will do, and we enforce read-only.
      if (cause instanceof TypeError && mode === 'read-only') {
        mode = 'readwrite';
        continue;
      }
      if (!(await isOpenElsewhere(request, cause, tried))) throw failure(request, cause);
      if (tried === TRIES) throw busy(path, node, cause);
    }
    try {
      const pause = Math.min(FIRST_PAUSE_NS * 2 ** (tried - 1), LONGEST_PAUSE_NS);
      await request.aioContext.sleep(pause, signal);
    } catch {
      throw canceled(path, node, signal!);
    }
  }
}

/**
 * Whether it failed since somebody has the file open. WebKit says that with an InvalidStateError, and
 * WebKitGTK says the same of a file for which it had no handle before.
 */
async function isOpenElsewhere(
  request: OpfsOpenRequest,
  cause: unknown,
  tried: number,
): Promise<boolean> {
  const name = nameOf(cause);
  if (name === 'InvalidStateError' && tried === 1) {
    const { hasSyncHandles } = await import('./opfs-webkit.ts');
    if (!(await hasSyncHandles(request))) throw failure(request, cause, 'NotSupportedError');
  }
  return name === 'InvalidStateError' || name === 'NoModificationAllowedError';
}

/** Walks to the file, and makes it where that is asked for. Throws BlockError. */
export async function findOpfsFile(request: OpfsOpenRequest): Promise<OpfsFileHandle> {
  try {
    const [directory, fileName] = await findDirectory(request);
    return await directory.getFileHandle(fileName, { create: request.create });
  } catch (cause) {
    throw failure(request, cause);
  }
}

/** Where the file lies, and its name there. */
export async function findDirectory({
  environment,
  path,
  create,
}: OpfsOpenRequest): Promise<[directory: OpfsDirectory, fileName: string]> {
  const names = path.split('/');
  const fileName = names.pop()!;
  let directory = await environment.root();
  for (const name of names) directory = await directory.getDirectoryHandle(name, { create });
  return [directory, fileName];
}

/** What to throw for what the browser threw. `name`: of the exception to go by. */
export function failure(
  request: OpfsOpenRequest,
  cause: unknown,
  name: string = nameOf(cause),
): BlockError {
  if (cause instanceof BlockError) return cause;
  const [code, why] = REASONS[name] ?? (['EIO', String(cause)] as const);
  const { nodeName: node, path } = request;
  return new BlockError(code, `${node}: cannot open opfs path '${path}': ${why}`, { node, cause });
}

/** The exception's kind; empty for what is none. */
export function nameOf(error: unknown): string {
  return error instanceof Error || error instanceof DOMException ? error.name : '';
}
