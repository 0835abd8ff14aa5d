// From a path to a sync access handle: walks the directories, and keeps trying while another tab
// lets go of the file, since a handle outlives its page for a moment (whatwg/fs#17).

import type { AioContext } from '../../aio/aio-context.ts';
import type { OpenedAhead } from '../block-driver.ts';
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
  /** See `OpenContext`. */
  readonly takesOver?: boolean | undefined;
  readonly ahead?: OpfsAhead | undefined;
  readonly signal: AbortSignal | undefined;
}

/** What the thread has that a disk moves to; the lock, too, where it is one for several. */
export interface OpfsAhead extends OpenedAhead {
  readonly file: OpfsFileHandle;
  readonly handle: SyncHandle;
  readonly release: (() => void) | undefined;
}

/** Opens `file`. The caller closes the handle. Throws BlockError. */
export async function openOpfsHandle(
  request: OpfsOpenRequest,
  file: OpfsFileHandle,
): Promise<SyncHandle> {
  const { path, nodeName: node, signal } = request;
  if (file.createSyncAccessHandle === undefined) {
    const { noSyncHandles } = await import('./opfs-failure.ts');
    throw noSyncHandles(request);
  }
  // Where there is a lock to keep others out, two threads of this page may have it open while a disk moves.
  const unsafe = request.environment.locks() === undefined ? 'readwrite' : 'readwrite-unsafe';
  let mode = request.readOnly ? 'read-only' : unsafe;
  for (let tried = 1; ; tried++) {
    if (signal?.aborted === true) throw canceled(path, node, signal);
    try {
      return await file.createSyncAccessHandle({ mode });
    } catch (cause) {
      // Browsers that know no modes: the exclusive default will do, and we enforce read-only.
      if (cause instanceof TypeError && mode !== 'readwrite') {
        mode = 'readwrite';
        continue;
      }
      if (!(await isOpenElsewhere(request, cause, tried))) throw await failure(request, cause);
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
    if (!(await hasSyncHandles(request))) throw await failure(request, cause, 'NotSupportedError');
  }
  return name === 'InvalidStateError' || name === 'NoModificationAllowedError';
}

/** Walks to the file, and makes it where that is asked for. Throws BlockError. */
export async function findOpfsFile(request: OpfsOpenRequest): Promise<OpfsFileHandle> {
  try {
    const [directory, fileName] = await findDirectory(request);
    return await directory.getFileHandle(fileName, { create: request.create });
  } catch (cause) {
    throw await failure(request, cause);
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
async function failure(request: OpfsOpenRequest, cause: unknown, name?: string): Promise<unknown> {
  if (cause instanceof BlockError) return cause;
  const { opfsFailure } = await import('./opfs-failure.ts');
  return opfsFailure(request, cause, name);
}

/** The exception's kind; empty for what is none. */
export function nameOf(error: unknown): string {
  return error instanceof Error || error instanceof DOMException ? error.name : '';
}
