// The Web Lock that says "this disk is open here": a second tab learns at once that the image is in
// use, also in browsers and states where two access handles would be allowed. A lock is held for as
// long as a promise is pending; releasing it settles that promise.

import type { AioContext } from '../../aio/aio-context.ts';
import { BlockError } from '../block-error.ts';
import type { OpfsLocks } from './opfs-environment.ts';

/** How long another tab may take to let go, nanoseconds: a reload closes the old page slowly. */
const WAIT_NS = 1_000_000_000;

/** What a lock can be on, as messages call it. */
export type LockedThing = 'opfs path' | 'idb database';

export interface OpfsLockRequest {
  readonly locks: OpfsLocks;
  readonly aioContext: AioContext;
  readonly nodeName: string;
  /** Normalised. */
  readonly path: string;
  /** What `path` names; default 'opfs path'. */
  readonly what?: LockedThing | undefined;
  readonly shared: boolean;
  /** A thread of this page has it, exclusively, and leaves it to this one: had at once. */
  readonly takesOver?: boolean | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Takes the lock of `path` and answers what releases it (idempotent). Throws BlockError: EBUSY when
 * someone else holds it for longer than a second, ECANCELED when `signal` aborts.
 */
export async function lockOpfsPath(request: OpfsLockRequest): Promise<() => void> {
  const { aioContext, signal, path, nodeName: node, what = 'opfs path' } = request;
  const name = `diskplane:${what.split(' ')[0]}:${path}`;
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  if (request.takesOver === true) {
    // Until it is this one's, it is the other's: nobody comes in between, so there is nothing to wait for.
    request.locks.request(name, { steal: true }, () => held).catch(() => {});
    return release;
  }
  const giveUp = new AbortController();
  const stop = (): void => giveUp.abort();
  const timer = aioContext.newTimer(stop);
  timer.mod(aioContext.now() + WAIT_NS);
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await new Promise<void>((granted, refused) => {
      const options = {
        mode: request.shared ? ('shared' as const) : ('exclusive' as const),
        signal: giveUp.signal,
      };
      const hold = (): Promise<void> => {
        granted();
        return held;
      };
      request.locks.request(name, options, hold).catch(refused);
    });
    return release;
  } catch (cause) {
    release();
    if (signal?.aborted === true) throw canceled(path, node, signal, what);
    if (giveUp.signal.aborted) throw busy(path, node, cause, what);
    throw new BlockError('EACCES', `${node}: the browser refuses a lock for ${what} '${path}'`, {
      node,
      cause,
    });
  } finally {
    timer.del();
    signal?.removeEventListener('abort', stop);
  }
}

/** EBUSY, in words that say who and what to do. */
export function busy(
  path: string,
  node: string,
  cause: unknown,
  what: LockedThing = 'opfs path',
): BlockError {
  return new BlockError(
    'EBUSY',
    `${node}: ${what} '${path}' is in use: another tab, window or disk holds it. ` +
      'Close that one, or open this one read-only where both are readers',
    { node, cause },
  );
}

export function canceled(
  path: string,
  node: string,
  signal: AbortSignal,
  what: LockedThing = 'opfs path',
): BlockError {
  return new BlockError('ECANCELED', `${node}: opening ${what} '${path}' was canceled`, {
    node,
    cause: signal.reason,
  });
}
