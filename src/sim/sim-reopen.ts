// Reopens of a disk at work: other options, read-only and back, another backing image or another file below
// it, requests that must be refused, and openings that fail. What failed must have changed nothing.

import type { OptionTree } from '../base/options.ts';
import { AbsentState } from '../block/absent-state.ts';
import { BlockError } from '../block/block-error.ts';
import type { BlockNode } from '../block/block-node.ts';
import type { Graph } from '../block/graph.ts';
import { openGraph } from '../block/open.ts';
import { reopenNodes } from '../block/reopen.ts';
import { calmly } from './act-parts.ts';
import type { Acting, ActParts } from './act-parts.ts';
import { BACKINGS } from './backing-oracle.ts';
import { OracleError } from './oracle-error.ts';
import { BASE, ZERO } from './sector-value.ts';
import { DISK } from './sim-machine.ts';
import { backingOptions } from './sim-shapes.ts';

/** What goes the way back is tried so often. */
const TRIES = 30;
const WAIT_NS = 3e9;

export class SimReopen {
  readonly #parts: ActParts;
  #names = 0;

  constructor(parts: ActParts) {
    this.#parts = parts;
  }

  /** Other caches, other settings. */
  async options(acting: Acting): Promise<void> {
    const { world, shape, count } = this.#parts;
    const { prng } = world;
    const qcow2 = {
      'l2-cache-size': prng.pick([0, 2048, 65536]),
      'lazy-refcounts': prng.chance(50),
    };
    const requests: OptionTree[] = [];
    if (shape.create !== undefined) requests.push({ 'node-name': DISK, ...qcow2 });
    if (prng.chance(50)) {
      requests.push({
        cache: { direct: prng.chance(50) },
        ...(requests.pop() ?? { 'node-name': DISK }),
      });
    }
    if (shape.overHttp && prng.chance(50)) {
      const base = this.#below();
      if (base?.driver === 'http') {
        requests.push({ 'node-name': base.name, readahead: prng.pick([0, 8192]) });
      }
    }
    world.note(`reopen ${JSON.stringify(requests)}`);
    await this.#reopen(requests, acting);
    count('reopen');
  }

  /** Read-only for a while, in which writes fail, then back. */
  readOnly(acting: Acting): Promise<void> {
    const { world, machine, storage, oracle, phase, turmoil, count, cutSoon } = this.#parts;
    const { prng } = world;
    return turmoil.once('phase', async () => {
      world.note('reopen read-only');
      const began = oracle.now;
      phase.now = 'changing';
      try {
        await this.#reopen([{ 'node-name': DISK, 'read-only': true }], acting);
      } catch (error) {
        if (!isLost(error)) phase.now = 'open';
        throw error;
      }
      oracle.flushed(began);
      phase.now = 'read-only';
      count('reopen read-only');
      if (acting.alone() && storage.files.get('top')!.locked) {
        throw new OracleError('the disk is read-only, and its file is open for writing');
      }
      if (prng.chance(20)) cutSoon();
      await machine.page.sleep(prng.pick([1000, 500_000, 20e6]));
      phase.now = 'changing';
      await this.backAgain('writable', () =>
        this.#reopen([{ 'node-name': DISK, 'read-only': false }], acting),
      );
    });
  }

  /** Another image below shows through from then on. */
  backing(acting: Acting): Promise<void> {
    const { world, machine, shape, oracle, turmoil, count } = this.#parts;
    const { prng } = world;
    return turmoil.once('backing', async () => {
      if (shape.baseBytes === 0) return;
      const from = oracle.backing.now[0]!;
      const to = prng.pick(BACKINGS.filter((backing) => backing !== from));
      const onServer = (backing: number): boolean => shape.overHttp && backing === BASE;
      // The file that is put in is read-only, which would not do for a base that is not.
      const mayBeFile =
        ![from, to].some((backing) => backing === ZERO || onServer(backing)) &&
        this.#below()?.readOnly !== false;
      const byFile = mayBeFile && prng.chance(60);
      const { io, graph } = machine;
      world.note(`reopen over ${to}${byFile ? ' by its file' : ''}`);
      oracle.replaces(to);
      let ok = false;
      try {
        await io.call('reopen over', async () => {
          const name = `base${++this.#names}`;
          const image = backingOptions(to, name, shape.overHttp, prng);
          const file = byFile ? (image!['file'] as OptionTree) : null;
          const opened = byFile ? { ...file, 'node-name': name, 'read-only': true } : image;
          try {
            if (opened !== null) await openGraph(graph, opened);
            if (onServer(to)) this.#parts.server.pinned = true;
            const above = byFile ? this.#below(graph)?.name : DISK;
            if (above === undefined) throw new BlockError('ENOENT', 'the disk is elsewhere');
            const before = graph.find(DISK)?.writeGeneration;
            const what = { [byFile ? 'file' : 'backing']: to === ZERO ? null : name };
            await this.#reopenHere(graph, [{ 'node-name': above, ...what }], acting);
            ok = true;
            if (acting.alone() && graph.get(DISK).writeGeneration === before) {
              throw new OracleError('another image shows, but nothing was written');
            }
          } finally {
            await sweep(graph);
            if (onServer(ok ? from : to)) this.#parts.server.unpin();
          }
        });
      } finally {
        oracle.backing.replaced(ok);
      }
      count(byFile ? 'reopen over another file' : 'reopen over another backing');
    });
  }

  /** Must be refused, and change nothing. */
  async refused(acting: Acting): Promise<void> {
    const { world, shape, count } = this.#parts;
    const disk = { 'node-name': DISK };
    const requests: OptionTree[] = world.prng.pick([
      [{ ...disk, 'read-only': true }, { 'node-name': 'nobody' }],
      [{ ...disk, driver: shape.create === undefined ? 'qcow2' : 'raw' }],
      [{ ...disk, nonsense: 1 }],
      [disk, disk],
      [{ ...disk, file: DISK }],
      [{ ...disk, file: 'nobody' }],
      [{ 'read-only': true }],
    ]);
    world.note(`reopen ${JSON.stringify(requests)}, to be refused`);
    try {
      await this.#reopen(requests, acting);
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      if (acting.alone() && error.code !== 'EINVAL' && error.code !== 'ENOENT') throw error;
      count('reopen refused');
      return;
    }
    throw new OracleError(`reopened with ${JSON.stringify(requests)}`);
  }

  /** Has the disk open as it was, whatever is in the way at first; until then nobody knows what it is. */
  async backAgain(what: string, back: () => Promise<void>): Promise<void> {
    const { world, machine, phase, mayFail } = this.#parts;
    for (let tries = 0; tries < TRIES; tries++) {
      if (machine.closed) return;
      try {
        await (tries === 0 ? back() : calmly(this.#parts, back));
        if (!machine.closed) phase.now = 'open';
        return;
      } catch (error) {
        if (!(error instanceof BlockError)) throw error;
        world.note(`back: ${error.message}`);
        if (isLost(error)) return;
        await machine.page.sleep(WAIT_NS);
      }
    }
    if (!machine.closed && !mayFail()) throw new OracleError(`it cannot be made ${what} again`);
  }

  #reopen(requests: readonly OptionTree[], acting: Acting): Promise<void> {
    const { io, graph } = this.#parts.machine;
    return io.call('reopen', () => this.#reopenHere(graph, requests, acting));
  }

  async #reopenHere(graph: Graph, requests: readonly OptionTree[], acting: Acting): Promise<void> {
    const { world, machine, storage } = this.#parts;
    const before = look(graph);
    const wasLost = graph.nodes.some(
      ({ state }) => state instanceof AbsentState && !state.inactive,
    );
    if (storage.calm === 0 && world.prng.chance(20)) storage.failOpenIn = 1 + world.prng.below(3);
    try {
      await machine.during('reopen', () => reopenNodes(graph, requests));
    } catch (error) {
      // What was lost may have come back on the way back.
      if (!acting.alone() || isLost(error) || wasLost) throw error;
      const after = look(graph);
      if (before === after) throw error;
      throw new OracleError(`a reopen failed, and left ${after} of ${before}: ${String(error)}`);
    } finally {
      storage.failOpenIn = 0;
    }
  }

  /** The disk's backing image. */
  #below(graph: Graph = this.#parts.machine.graph): BlockNode | undefined {
    const edges = graph.find(DISK)?.children ?? [];
    return edges.find(({ role }) => role === 'backing')?.node;
  }
}

/** Where even the way back failed, which the error must say. */
export function isLost(error: unknown): boolean {
  return error instanceof BlockError && error.message.includes(' is lost (');
}

/** All that a reopen may change. */
export function look(graph: Graph): string {
  const nodes = graph.nodes.map((node) => ({
    name: node.name,
    readOnly: node.readOnly,
    options: node.options,
    settings: node.settings,
    there: !(node.state instanceof AbsentState),
    children: node.children.map(({ role, node: child, writable }) => [role, child.name, writable]),
    drained: node.quiescence.count,
  }));
  return JSON.stringify(nodes);
}

/** Whether a node is one that was opened to go below a disk. */
export function isAdded(nodeName: string): boolean {
  return /^base\d/.test(nodeName);
}

/** Closes images that were opened to go below a disk, and do not. */
async function sweep(graph: Graph): Promise<void> {
  for (const node of graph.nodes) {
    if (!isAdded(node.name) || !graph.isOwned(node) || graph.isMoving(node)) continue;
    if (node.quiescence.parents.size === 0) await graph.blockdevDel(node.name);
  }
}
