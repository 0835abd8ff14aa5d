// Puts what an overlay holds into its backing image, and empties the overlay (bdrv_commit). The overlay keeps
// all of it, in front of whatever stands in the base meanwhile, until the base has it durably: so every read
// answers the same throughout, and an error, an abort or a power cut on the way costs the time alone.

import { IOVector } from '../../base/io-vector.ts';
import type { Ret } from '../../base/ret.ts';
import { AbsentState } from '../absent-state.ts';
import type { BlockChild } from '../block-child.ts';
import { REQ_MAY_UNMAP } from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { BlockNode } from '../block-node.ts';
import { whileSubtreeDrained } from '../drain.ts';
import type { Graph } from '../graph.ts';
import { upkeepOf } from '../node-upkeep.ts';
import { planPermissions } from '../permissions.ts';
import { checkIdle } from '../reopen-plan.ts';
import { reopenLocked } from '../reopen.ts';
import { roundUp } from '../shaping.ts';
import { skipFilters } from '../skip-filters.ts';
import type { Job } from './job.ts';

/** Copied by one request at most, bytes: all the memory that it takes. */
const PIECE_BYTES = 1024 * 1024;
/** Made zero by one request at most, bytes: a base that has to write them out takes its time. */
const ZERO_BYTES = 16 * PIECE_BYTES;

/**
 * Commits the overlay that `nodeName` is, or that is below filters there, into its backing image, which is made
 * writable meanwhile and as long as the overlay. Requests wait. Throws BlockError - ENOTSUP where
 * there is no backing image, EROFS where one of the two cannot be written to, EBUSY where somebody else needs
 * the base as it is - or the job's `signal.reason`, and then the overlay is as it was.
 */
export async function commitDisk(graph: Graph, nodeName: string, job: Job): Promise<void> {
  const overlay = skipFilters(graph.get(nodeName));
  const { length } = overlay;
  await commitOverlay(graph, overlay, job, (done) => job.progress(done, length));
  job.finished(length);
}

/**
 * Commits the uppermost overlay of every disk (bdrv_commit_all), one layer down. Leaves out what is
 * read-only, and what has a base that cannot be written to. One that fails keeps none of the others from it;
 * then throws the first BlockError, or the job's `signal.reason`. Answers the overlays' names.
 */
export async function commitAll(graph: Graph, job: Job): Promise<readonly string[]> {
  const overlays = uppermost(graph).filter((node) => refusalOf(node) === undefined);
  const total = overlays.reduce((sum, { length }) => sum + length, 0);
  let before = 0;
  let failure: unknown;
  for (const overlay of overlays) {
    const { length } = overlay;
    const report = (done: number): void => job.progress(before + done, total);
    await commitOverlay(graph, overlay, job, report).catch((error: unknown) => {
      job.signal?.throwIfAborted();
      failure ??= error;
    });
    before += length;
  }
  if (failure !== undefined) throw failure as Error;
  job.finished(total);
  return overlays.map(({ name }) => name);
}

/** What no other node is made of, without the filters in front of it. */
function uppermost(graph: Graph): BlockNode[] {
  const tops = graph.nodes.filter(({ quiescence }) =>
    [...quiescence.parents.values()].every((parent) => !(parent instanceof BlockNode)),
  );
  return [...new Set(tops.map(skipFilters))];
}

type Report = (done: number) => void;

async function commitOverlay(
  graph: Graph,
  overlay: BlockNode,
  job: Job,
  report: Report,
): Promise<void> {
  checkCommittable(overlay);
  // Keeps it open, and where it is.
  const user = graph.newBackend({ name: job.id, nodeName: overlay.name, readOnly: true });
  try {
    await graph.changes.withLock(() => commitLocked(graph, overlay, job, report), job.signal);
  } finally {
    await graph.dropBackend(user);
  }
}

function checkCommittable(overlay: BlockNode): void {
  const refusal = refusalOf(overlay);
  if (refusal !== undefined) throw refusal;
}

/** Why `node` cannot be committed, whatever else goes on. */
function refusalOf(node: BlockNode): BlockError | undefined {
  const refusal = (code: 'ENOTSUP' | 'EROFS' | 'EBUSY', why: string): BlockError =>
    new BlockError(code, `${node.label} ${why}`, { node: node.name });
  if (node.state instanceof AbsentState) return refusal('EBUSY', 'is not open: activate it first');
  const edge = backingOf(node);
  if (edge === undefined || node.state.makeEmpty === undefined) {
    return refusal('ENOTSUP', `has no backing image to be committed to. ${WAY_OUT}`);
  }
  if (node.readOnly) {
    return refusal('EROFS', 'is read-only, and a commit empties it: reopen it writable first');
  }
  const fixed = findFixed(edge.node);
  if (fixed === undefined) return undefined;
  const what = `'${fixed.filename}' (driver '${fixed.driver}')`;
  return refusal('EROFS', `has a backing image that nobody can write to, ${what}. ${WAY_OUT}`);
}

const WAY_OUT = 'To have the whole disk in one image, make a new one with convertTo';

function backingOf(node: BlockNode): BlockChild | undefined {
  return node.children.find((edge) => edge.role === 'backing');
}

/** The node that keeps `base` from being written to, however it is opened. */
function findFixed(base: BlockNode): BlockNode | undefined {
  if (base.state.pwritev === undefined) return base;
  for (const { role, node } of base.children) {
    const fixed = role === 'backing' ? undefined : findFixed(node);
    if (fixed !== undefined) return fixed;
  }
  return undefined;
}

/** With `graph.changes`: nobody reopens anything meanwhile but we. */
async function commitLocked(
  graph: Graph,
  overlay: BlockNode,
  job: Job,
  report: Report,
): Promise<void> {
  checkCommittable(overlay);
  const base = backingOf(overlay)!.node;
  for (const node of [overlay, base]) checkIdle(graph, node);
  if (!base.readOnly) return commitAlone(graph, overlay, base, job, report);
  await reopenWritable(graph, overlay, base);
  let failure: unknown;
  const note = (error: unknown): void => void (failure ??= error);
  await commitAlone(graph, overlay, base, job, report).catch(note);
  await reopenLocked(graph, [{ 'node-name': base.name, 'read-only': true }]).catch(note);
  if (failure !== undefined) throw failure as Error;
}

async function reopenWritable(graph: Graph, overlay: BlockNode, base: BlockNode): Promise<void> {
  try {
    await reopenLocked(graph, [{ 'node-name': base.name, 'read-only': false }]);
  } catch (cause) {
    if (!(cause instanceof BlockError)) throw cause;
    const forbidden = cause.code === 'EACCES' || cause.code === 'EPERM';
    const message =
      `${overlay.label} cannot be committed, for its backing image '${base.name}' (${base.filename}) ` +
      `cannot be opened for writing: ${cause.message}. ${WAY_OUT}`;
    throw new BlockError(forbidden ? 'EROFS' : cause.code, message, { node: base.name, cause });
  }
}

/** Nobody else works on the two as a whole, and no request comes from above. */
async function commitAlone(
  graph: Graph,
  overlay: BlockNode,
  base: BlockNode,
  job: Job,
  report: Report,
): Promise<void> {
  const nodes = [overlay, base];
  for (const node of nodes) checkIdle(graph, node);
  graph.beginMove(nodes);
  const locks = nodes.map(upkeepOf);
  for (const lock of locks) void lock.lock();
  try {
    await whileSubtreeDrained([overlay], () => commitDrained(overlay, job, report));
  } finally {
    for (const lock of locks) lock.unlock();
    await graph.endMove(nodes);
  }
}

async function commitDrained(overlay: BlockNode, job: Job, report: Report): Promise<void> {
  const edge = backingOf(overlay)!;
  edge.writable = true;
  try {
    // EBUSY where somebody else needs the base as it is.
    planPermissions([overlay])();
    await copyDown(overlay, edge, job, report);
    const flushed = await edge.node.lastFlush();
    if (flushed < 0) throw failure(overlay, `flush of ${edge.node.label}`, flushed);
    job.signal?.throwIfAborted();
    // No write as `writeGen` counts them: whoever reads the disk at the moment finds the same bytes afterwards.
    const emptied = await overlay.state.makeEmpty!();
    if (emptied < 0) throw failure(overlay, 'emptying it', emptied);
  } finally {
    edge.writable = false;
    planPermissions([overlay])();
  }
}

/** Writes to the base what the overlay itself holds, and not what shows through it. */
async function copyDown(
  overlay: BlockNode,
  base: BlockChild,
  job: Job,
  report: Report,
): Promise<void> {
  const { length } = overlay;
  if (base.length < length) {
    const grown = await base.truncate(roundUp(length, base.limits.requestAlignment));
    const what = `growing ${base.node.label} from ${base.length} to ${length} bytes`;
    if (grown < 0) throw failure(overlay, what, grown);
  }
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < length;) {
    await job.pace.breathe();
    const status = await overlay.blockStatus(at, length - at);
    if (typeof status === 'number') throw failure(overlay, `block status at ${at}`, status);
    let { bytes } = status;
    if (status.allocated) {
      // Pieces end where a multiple of their size does, so that clusters are written whole.
      const most = status.zero ? ZERO_BYTES : PIECE_BYTES;
      bytes = Math.min(bytes, roundUp(at + 1, most) - at);
      const ret = status.zero
        ? await base.pwriteZeroes(at, bytes, REQ_MAY_UNMAP)
        : await copyPiece(overlay, base, at, buffer.subarray(0, bytes));
      if (ret < 0) throw failure(overlay, `${bytes} bytes at ${at} to ${base.node.label}`, ret);
    }
    at += bytes;
    report(at);
  }
}

async function copyPiece(
  overlay: BlockNode,
  base: BlockChild,
  at: number,
  piece: Uint8Array<ArrayBuffer>,
): Promise<Ret> {
  const ret = await overlay.preadv(at, IOVector.of(piece));
  return ret < 0 ? ret : base.pwritev(at, IOVector.of(piece));
}

function failure(overlay: BlockNode, what: string, ret: Ret): BlockError {
  return BlockError.fromRet(ret, `commit of ${overlay.label}: ${what}`, overlay.name);
}
