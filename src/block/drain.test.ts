// Drained sections, on simulated time: nothing completes between their begin and their end, they nest,
// what a driver holds back does not hold them up, and what comes to a drained node is drained.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { OK } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import { ControllableState } from '../testing/controllable.ts';
import type { SimContext } from '../testing/sim-context.ts';
import { STORAGE } from '../testing/sim-latency.ts';
import { SimWorld } from '../testing/sim-world.ts';
import type { BlockBackend } from './block-backend.ts';
import type { BlockChild } from './block-child.ts';
import { ANY_RANGE } from './block-driver.ts';
import type { BlockDriver, DriverState } from './block-driver.ts';
import { whileAllDrained, whileSubtreeDrained } from './drain.ts';
import { flushAll } from './flush-all.ts';
import { driver as raw } from './formats/raw.ts';
import { Graph } from './graph.ts';
import { openGraph } from './open.ts';
import { registerDriver } from './registry.ts';

/** A disk whose every answer takes its time. */
const slow: BlockDriver = {
  name: 'slow',
  kind: 'protocol',
  parseOptions: (raw) => raw,
  open: async (context) => {
    const io = context.aioContext as SimContext;
    const wait = (): Promise<Ret> => io.completion(context.nodeName, STORAGE).then(() => OK);
    return { length: 4096, limits: ANY_RANGE, preadv: wait, pwritev: wait, flush: wait, close };
  },
};

/**
 * A filter that holds every request back, as a throttle or a breakpoint does: for `hold-ns`, or until
 * it is drained; then requests pass.
 */
const gate: BlockDriver<Record<string, unknown>> = {
  name: 'gate',
  kind: 'filter',
  parseOptions: (raw) => raw,
  open: async (context, options) => {
    const file = await context.openChild('filtered', options['file']);
    return new GateState(file, context.aioContext as SimContext, options['hold-ns'] as number);
  },
};

class GateState implements DriverState {
  readonly length = 4096;
  readonly limits = ANY_RANGE;
  readonly close = close;
  readonly #file: BlockChild;
  readonly #io: SimContext;
  readonly #holdNs: number;
  readonly #held = new Set<() => void>();
  #open = false;

  constructor(file: BlockChild, io: SimContext, holdNs: number) {
    this.#file = file;
    this.#io = io;
    this.#holdNs = holdNs;
  }

  preadv(offset: number, qiov: IOVector): MaybeRet {
    return this.#pass(() => this.#file.preadv(offset, qiov));
  }
  pwritev(offset: number, qiov: IOVector): MaybeRet {
    return this.#pass(() => this.#file.pwritev(offset, qiov));
  }
  drainBegin(): void {
    this.#open = true;
    for (const go of this.#held) go();
  }
  drainEnd(): void {
    this.#open = false;
  }

  #pass(request: () => MaybeRet): MaybeRet {
    if (this.#open) return request();
    return new Promise((resolve) => {
      const go = (): void => {
        timer.del();
        this.#held.delete(go);
        resolve(request());
      };
      const timer = this.#io.newTimer(go);
      if (this.#holdNs < Infinity) timer.mod(this.#io.now() + this.#holdNs);
      this.#held.add(go);
    });
  }
}

async function close(): Promise<void> {}

function sector(): IOVector {
  return IOVector.of(new Uint8Array(512));
}

interface Rig {
  readonly world: SimWorld;
  readonly io: SimContext;
  readonly graph: Graph;
}

function rig(seed: number): Rig {
  // Loaded already: the host's files are not on simulated time.
  registerDriver('raw', { kind: 'format', load: async () => ({ driver: raw }) });
  registerDriver('slow', async () => ({ driver: slow }));
  registerDriver('gate', { kind: 'filter', load: async () => ({ driver: gate }) });
  const world = new SimWorld({ seed });
  const io = world.newContext('io');
  return { world, io, graph: new Graph(io) };
}

/** A disk `name` over a gate over a slow protocol. */
function chain(graph: Graph, name: string, holdNs: number): Promise<unknown> {
  const protocol = { driver: 'slow', 'node-name': `${name}-file` };
  const file = { driver: 'gate', 'node-name': `${name}-gate`, 'hold-ns': holdNs, file: protocol };
  return openGraph(graph, { driver: 'raw', 'node-name': name, file });
}

/** Requests of one chain's users, and whether they may complete. */
class Watched {
  /** Drained sections that are open. */
  sections = 0;
  made = 0;
  completed = 0;
  wrong = 0;

  /** `count` requests of `backend`, each after a pause of up to a millisecond. */
  async load({ world, io }: Rig, backend: BlockBackend, count: number): Promise<void> {
    const answers: Promise<void>[] = [];
    for (let i = 0; i < count; i++) {
      await io.sleep(world.prng.below(1_000_000));
      const offset = 512 * world.prng.below(8);
      const read = world.prng.chance(50);
      this.made += 1;
      const ret = read ? backend.preadv(offset, sector()) : backend.pwritev(offset, sector());
      answers.push(Promise.resolve(ret).then((done) => this.#over(done)));
    }
    await Promise.all(answers);
  }

  #over(ret: Ret): void {
    expect(ret).toBe(OK);
    this.completed += 1;
    if (this.sections > 0) this.wrong += 1;
  }
}

/** Opens sections of all kinds at random, one within the other; within some a new user comes. */
async function drainAtRandom(
  at: Rig,
  chains: ReadonlyMap<string, Watched>,
  depth: number,
): Promise<void> {
  const { world, io, graph } = at;
  const { prng } = world;
  const name = prng.pick([...chains.keys()]);
  const all = prng.chance(30);
  const stopped = all ? [...chains.values()] : [chains.get(name)!];
  const body = async (): Promise<void> => {
    for (const watched of stopped) watched.sections += 1;
    const made = chains.get(name)!;
    const newcomer = prng.chance(30)
      ? made.load(at, graph.newBackend({ name: `new-${newcomers.length}`, nodeName: name }), 2)
      : undefined;
    newcomers.push(newcomer);
    await io.sleep(prng.below(3_000_000));
    if (depth > 0) await drainAtRandom(at, chains, depth - 1);
    for (const watched of stopped) watched.sections -= 1;
  };
  if (all) return whileAllDrained(graph, body);
  if (prng.chance(50)) return whileSubtreeDrained([graph.get(name)], body);
  return graph.get(`${name}${prng.pick(['', '-gate', '-file'])}`).whileDrained(body);
}

let newcomers: (Promise<void> | undefined)[] = [];

describe('a drained section', () => {
  it('sees no completion between its begin and its end, however sections meet and nest', async () => {
    let during = 0;
    for (let seed = 0; seed < 50; seed++) {
      const at = rig(seed);
      const { world, io, graph } = at;
      newcomers = [];
      const chains = new Map([
        ['a', new Watched()],
        ['b', new Watched()],
      ]);
      await world.run(io, async () => {
        const loads: Promise<void>[] = [];
        for (const [name, watched] of chains) {
          await chain(graph, name, world.prng.below(2_000_000));
          for (const user of ['0', '1']) {
            const backend = graph.newBackend({ name: name + user, nodeName: name });
            loads.push(watched.load(at, backend, 8));
          }
        }
        const drains = [1, 2, 3].map(async () => {
          await io.sleep(world.prng.below(4_000_000));
          await drainAtRandom(at, chains, 2);
        });
        await Promise.all(drains);
        await Promise.all([...loads, ...newcomers]);
      });
      for (const { made, completed, wrong } of chains.values()) {
        expect([seed, completed, wrong]).toEqual([seed, made, 0]);
        during += made;
      }
      for (const node of graph.nodes)
        expect([node.inFlight, node.quiescence.count]).toEqual([0, 0]);
    }
    expect(during).toBeGreaterThan(50 * 32);
  });

  it.each(['node', 'subtree', 'all'])('over %s is not held up by a breakpoint', async (kind) => {
    const { world, io, graph } = rig(7);
    await world.run(io, async () => {
      await chain(graph, 'a', Infinity);
      const backend = graph.newBackend({ name: 'a0', nodeName: 'a' });
      let completed = 0;
      const request = Promise.resolve(backend.pwritev(0, sector())).then(() => (completed += 1));
      const body = async (): Promise<void> => void expect(completed).toBe(1);
      if (kind === 'node') await graph.get('a-gate').whileDrained(body);
      else if (kind === 'subtree') await whileSubtreeDrained([graph.get('a')], body);
      else await whileAllDrained(graph, body);
      await request;
    });
  });

  it('over everything holds for nodes that come meanwhile, and ends for them', async () => {
    const { world, io, graph } = rig(3);
    await world.run(io, async () => {
      let completed = false;
      let request: Promise<unknown> = Promise.resolve();
      await whileAllDrained(graph, async () => {
        await chain(graph, 'late', 0);
        const backend = graph.newBackend({ name: 'late0', nodeName: 'late' });
        request = Promise.resolve(backend.preadv(0, sector())).then(() => (completed = true));
        await io.sleep(50_000_000);
        expect(completed).toBe(false);
      });
      await request;
      expect(graph.nodes.map(({ quiescence }) => quiescence.count)).toEqual([0, 0, 0]);
    });
  });
});

describe('flushAll', () => {
  it('flushes each disk once from its top, and all of them where one fails', async () => {
    const { world, io, graph } = rig(1);
    const states = new Map<string, ControllableState>();
    registerDriver('counted', async () => ({
      driver: {
        ...slow,
        open: async ({ nodeName }) => {
          const state = new ControllableState(4096);
          states.set(nodeName, state);
          return state;
        },
      },
    }));
    await world.run(io, async () => {
      for (const name of ['a', 'b']) {
        const file = { driver: 'counted', 'node-name': `${name}-file` };
        await openGraph(graph, { driver: 'raw', 'node-name': name, file });
        expect(await graph.get(name).pwritev(0, sector())).toBe(OK);
      }
      states.get('a-file')!.failAt('flush', 1, -28);
      await expect(flushAll(graph.nodes)).rejects.toMatchObject({ code: 'ENOSPC', node: 'a' });
      expect([...states.values()].map(({ counts }) => counts.flush)).toEqual([1, 1]);
      // What is clean costs no call.
      await flushAll(graph.nodes);
      expect([...states.values()].map(({ counts }) => counts.flush)).toEqual([2, 1]);
    });
  });
});
