// What the exceptions mean that opening a file in OPFS throws, in words for people. Loaded where it fails.

import type { ErrorCode } from '../../base/ret.ts';
import { BlockError } from '../block-error.ts';
import { nameOf } from './opfs-open.ts';
import type { OpfsOpenRequest } from './opfs-open.ts';

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

/** What to throw for what the browser threw. `name`: of the exception to go by. */
export function opfsFailure(
  { nodeName: node, path }: OpfsOpenRequest,
  cause: unknown,
  name: string = nameOf(cause),
): BlockError {
  if (cause instanceof BlockError) return cause;
  const [code, why] = REASONS[name] ?? (['EIO', String(cause)] as const);
  return new BlockError(code, `${node}: cannot open opfs path '${path}': ${why}`, { node, cause });
}

/** Where the browser, or this kind of thread, has no sync access handles. */
export function noSyncHandles({ nodeName: node, path }: OpfsOpenRequest): BlockError {
  return new BlockError(
    'ENOTSUP',
    `${node}: opfs path '${path}' needs createSyncAccessHandle, which browsers have in ` +
      'dedicated workers only: open the disk on an IOThread. The idb driver does without it',
    { node },
  );
}
