// What is done to a node as a whole and seldom: reset, check, telling its generation. All of it runs
// drained. Loaded where it is first used; a node that was closed meanwhile says so.

import type { AioContext } from '../aio/aio-context.ts';
import { CoMutex } from '../aio/co-mutex.ts';
import { fnv1a64 } from '../base/fnv.ts';
import { ENOMEDIUM } from '../base/ret.ts';
import { AbsentState } from './absent-state.ts';
import type { CheckResult } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import type { NodeControl } from './node-control.ts';
import type { Pace } from './pace.ts';
import type { RequestBooks } from './request-books.ts';

/** See `NodeControl.makeEmpty`. */
export async function makeEmpty(
  node: NodeControl,
  books: RequestBooks,
  signal: AbortSignal | undefined,
): Promise<void> {
  const ret = await whileDrained(node, async () => {
    const { state, label } = node;
    const backing = node.children.some((edge) => edge.role === 'backing');
    if (state.makeEmpty === undefined || !backing) {
      const message =
        `${label} has no backing image to go back to: only an overlay can be reset. Make it ` +
        'anew with createDisk, or open it over an image (`backing`)';
      throw new BlockError('ENOTSUP', message, { node: node.name });
    }
    refuseReadOnly(node, 'reset');
    refuseShared(node, 'reset');
    signal?.throwIfAborted();
    books.writeGen += 1;
    return state.makeEmpty();
  });
  if (ret < 0) throw BlockError.fromRet(ret, `reset of ${node.label}`, node.name);
}

/** See `NodeControl.check`. */
export async function check(
  node: NodeControl,
  books: RequestBooks,
  fix: 'none' | 'leaks' | 'all',
  pace: Pace | undefined,
): Promise<CheckResult> {
  return whileDrained(node, async () => {
    const { state } = node;
    refuseShared(node, 'check');
    if (state.check === undefined) {
      const message = `${node.label}: driver '${node.driver}' has no check`;
      throw new BlockError('ENOTSUP', message, { node: node.name });
    }
    if (fix !== 'none') refuseReadOnly(node, 'repair');
    try {
      return await state.check(fix, pace);
    } finally {
      if (fix !== 'none') books.writeGen += 1;
    }
  });
}

/** See `NodeControl.generation`. */
export async function generation(
  node: NodeControl,
  books: RequestBooks,
  context: AioContext,
): Promise<string> {
  return whileDrained(node, async () => {
    refuseShared(node, 'tell its generation');
    const flushed = await node.flush();
    if (flushed < 0) throw BlockError.fromRet(flushed, `flush of ${node.label}`, node.name);
    const stored = await node.state.generation?.();
    return stored === undefined ? whileOpen(books, context) : compact(stored);
  });
}

function whileOpen(books: RequestBooks, context: AioContext): string {
  while (books.openId.length < 24) books.openId += Math.floor(context.random() * 16).toString(16);
  return `open-${books.openId}-${books.writeGen}`;
}

/** As it is, or what stands for it, where it is too long to hand about. */
function compact(stored: string): string {
  return /^[!-~]{1,64}$/.test(stored) ? stored : fnv1a64(stored);
}

function refuseReadOnly(node: NodeControl, what: string): void {
  if (!node.readOnly) return;
  throw new BlockError('EROFS', `${node.label} is read-only: cannot ${what}`, { node: node.name });
}

/** What looks at all of a node, or names its contents, cannot do so past writes of other threads. */
function refuseShared(node: NodeControl, what: string): void {
  if (!node.shared) return;
  const message = `${node.label} is open on several IOThreads: cannot ${what}. Take the device with its iothreadVqMapping away, close the disk and open it again`;
  throw new BlockError('ENOTSUP', message, { node: node.name });
}

const locks = new WeakMap<NodeControl, CoMutex>();

/** Held by whoever works on a node as a whole: drained sections keep requests off, but not one another. */
export function upkeepOf(node: NodeControl): CoMutex {
  const lock = locks.get(node) ?? new CoMutex();
  locks.set(node, lock);
  return lock;
}

/**
 * Runs `body` drained and alone, unless the node was closed by then. What `body` needs of the node it has to
 * look up itself: a reopen may have come first.
 */
async function whileDrained<T>(node: NodeControl, body: () => Promise<T>): Promise<T> {
  return node.whileDrained(async () =>
    upkeepOf(node).withLock(async () => {
      if (node.closed) throw BlockError.fromRet(-ENOMEDIUM, `${node.label} is closed`, node.name);
      if (!(node.state instanceof AbsentState)) return body();
      const { inactive } = node.state;
      const why = inactive ? 'is inactive: activate it first' : 'is lost, its image is not open';
      throw new BlockError(inactive ? 'EPERM' : 'EIO', `${node.label} ${why}`, { node: node.name });
    }),
  );
}
