// One seed: a disk is made, then lives through rounds of work, each ended by a shutdown or a power cut at
// any event. Before each round, and after the last, it is opened, checked and read from end to end.

import { IOVector } from '../base/io-vector.ts';
import type { OptionTree } from '../base/options.ts';
import { errorCode } from '../base/ret.ts';
import { BlockError } from '../block/block-error.ts';
import { createImage } from '../block/create.ts';
import { Graph } from '../block/graph.ts';
import { openGraph } from '../block/open.ts';
import { httpDriver } from '../block/protocols/http.ts';
import { registerDriver } from '../block/registry.ts';
import type { SimRecord } from '../testing/sim-trace.ts';
import { SimWorld } from '../testing/sim-world.ts';
import { Turmoil } from './act-parts.ts';
import type { ActParts } from './act-parts.ts';
import { BackingOracle } from './backing-oracle.ts';
import { DiskOracle } from './disk-oracle.ts';
import { DiskPhase } from './disk-phase.ts';
import { OracleError } from './oracle-error.ts';
import { BASE, OTHER_BASE, SECTOR, fillSectors } from './sector-value.ts';
import { SimHistory } from './sim-history.ts';
import { DISK, SimMachine } from './sim-machine.ts';
import type { MachineSeams } from './sim-machine.ts';
import { SimDirector } from './sim-director.ts';
import { SimFile } from './sim-file.ts';
import { RING_KINDS } from './sim-rings.ts';
import { fileOf, pickShape } from './sim-shapes.ts';
import type { SimShape } from './sim-shapes.ts';
import { SimServer } from './sim-server.ts';
import { SimStorage } from './sim-storage.ts';

const MAX_EVENTS = 100_000;

/** What of a world one may change from outside: how canaries get in. */
export type ScenarioSeams = MachineSeams;

/** How a seed went. */
export interface ScenarioResult {
  readonly seed: number;
  readonly events: number;
  /** Of all that happened, in its order. */
  readonly hash: number;
  /** How often what happened. */
  readonly counts: ReadonlyMap<string, number>;
  /** What was wrong, the last events included; undefined for nothing. */
  readonly failure: string | undefined;
}

/** Runs `seed`. Never rejects. */
export async function runSeed(
  seed: number,
  seams: ScenarioSeams = {},
  onRecord: (record: SimRecord) => void = () => {},
): Promise<ScenarioResult> {
  const history = new SimHistory(onRecord);
  const world = new SimWorld({ seed, maxEvents: MAX_EVENTS, onRecord: history.add });
  const counts = new Map<string, number>();
  const count = (kind: string): void => void counts.set(kind, (counts.get(kind) ?? 0) + 1);
  let failure: string | undefined;
  try {
    await new Scenario(world, count, seams).run();
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
  }
  return { seed, events: world.events, hash: history.hash, counts, failure };
}

class Scenario {
  readonly #world: SimWorld;
  readonly #count: (kind: string) => void;
  readonly #seams: ScenarioSeams;
  readonly #shape: SimShape;
  readonly #storage: SimStorage;
  readonly #server: SimServer;
  readonly #base: Uint8Array;
  #machines = 0;
  /** Faults before the present round. */
  #faultsBefore = 0;
  /** The power fails after so many events. */
  #cutAt = Infinity;
  #oracle: DiskOracle;

  constructor(world: SimWorld, count: (kind: string) => void, seams: ScenarioSeams) {
    this.#world = world;
    this.#count = count;
    this.#seams = seams;
    this.#shape = pickShape(world.prng);
    this.#storage = new SimStorage(world.prng);
    this.#storage.onCut = () => this.#cutWithin(0);
    this.#base = new Uint8Array(this.#shape.baseBytes);
    fillSectors(this.#base, 0, BASE);
    this.#server = new SimServer(world, this.#base);
    const based = this.#shape.baseBytes / SECTOR;
    const backing = new BackingOracle(based, this.#shape.cluster / SECTOR);
    this.#oracle = new DiskOracle(this.#shape.bytes / SECTOR, backing);
    registerDriver('sim-storage', {
      kind: 'protocol',
      load: async () => ({ driver: this.#storage.driver }),
    });
    const http = httpDriver(this.#server.fetch);
    registerDriver('http', { kind: 'protocol', load: async () => ({ driver: http }) });
  }

  async run(): Promise<void> {
    const { prng } = this.#world;
    await this.#create();
    for (let round = 1 + prng.below(3); round > 0; round--) {
      await this.#round();
      await this.#inspect();
    }
  }

  /** The disk comes into being, durably, on storage that does not fail. */
  async #create(): Promise<void> {
    const { prng } = this.#world;
    const { alignment, create } = this.#shape;
    this.#storage.add(new SimFile('base', this.#base));
    const other = new Uint8Array(this.#base.length);
    fillSectors(other, 0, OTHER_BASE);
    this.#storage.add(new SimFile('other', other));
    const raw = create === undefined ? this.#shape.bytes : 0;
    const file = this.#storage.add(new SimFile('top', new Uint8Array(raw), alignment));
    if (create === undefined) return;
    const thread = this.#world.newContext('maker');
    const graph = new Graph(thread);
    await this.#world.run(thread, async () => {
      const options = { driver: 'qcow2', size: this.#shape.bytes, ...create };
      await createImage(graph, { ...options, file: { driver: 'sim-storage', disk: 'top' } });
    });
    thread.terminate();
    file.persist(file.mark);
    file.cut(prng);
  }

  /** What failed on purpose so far. */
  get #faults(): number {
    return this.#storage.faults + this.#server.faults;
  }

  #machine(phase: DiskPhase): SimMachine {
    const { prng } = this.#world;
    return new SimMachine({
      world: this.#world,
      name: String(++this.#machines),
      rings: prng.pick(RING_KINDS),
      oracle: this.#oracle,
      phase,
      cluster: this.#shape.cluster,
      mayFail: () => this.#faults > this.#faultsBefore,
      count: this.#count,
      cutSoon: this.#cutSoon,
      seams: this.#seams,
    });
  }

  /** A few events from now, or with one of the next requests to storage. */
  readonly #cutSoon = (): void => {
    const { prng } = this.#world;
    if (prng.chance(50)) this.#cutWithin(prng.below(20));
    else this.#storage.cutIn ||= 1 + prng.below(8);
  };

  #cutWithin(events: number): void {
    this.#cutAt = Math.min(this.#cutAt, this.#world.events + events);
  }

  /** Power on, work, and off again one way or the other. */
  async #round(): Promise<void> {
    const { prng } = this.#world;
    const storage = this.#storage;
    this.#faultsBefore = this.#faults;
    storage.syncPercent = prng.pick([0, 30, 70, 95, 100]);
    storage.faultPermille = prng.pick([0, 0, 0, 3, 20]);
    this.#server.faultPercent = prng.pick([0, 0, 10, 40]);
    this.#cutAt = prng.chance(60)
      ? this.#world.events + prng.below(prng.pick([60, 300, 1000]))
      : Infinity;
    const phase = new DiskPhase();
    const machine = this.#machine(phase);
    const over = await this.#world.runUntil(
      () => this.#world.events >= this.#cutAt,
      machine.page,
      () => this.#work(machine, phase),
    );
    machine.terminate();
    if (!over) this.#powerCut();
    storage.restart();
    this.#server.restart();
  }

  /** Nothing failed, and all was closed: no cluster may be lost. */
  #clean = false;

  /** Clusters that may be lost: any number after a power cut, for some show only when the file grows. */
  #leaks = 0;

  async #work(machine: SimMachine, phase: DiskPhase): Promise<void> {
    const { prng } = this.#world;
    try {
      await machine.open(this.#options());
    } catch (error) {
      return this.#excuse(error, 'an open');
    }
    this.#server.pinned = this.#oracle.backing.now[0] === BASE;
    const turmoil = new Turmoil();
    const parts: ActParts = {
      world: this.#world,
      machine,
      shape: this.#shape,
      storage: this.#storage,
      server: this.#server,
      oracle: this.#oracle,
      phase,
      turmoil,
      mayFail: () => this.#faults > this.#faultsBefore,
      count: this.#count,
      cutSoon: this.#cutSoon,
    };
    const guest = machine.vcpu.call('guest', () => {
      const tasks = 1 + prng.below(5);
      return machine.guest.run(tasks, 2 + prng.below(10));
    });
    const director = new SimDirector(parts);
    // Two at a time at times: they meet one another then.
    const directors = Array.from({ length: prng.pick([1, 1, 2]) }, () =>
      director.run(prng.below(8)),
    );
    const abrupt = prng.chance(25);
    const end = abrupt ? [this.#closeAll(parts)] : [];
    await Promise.all([guest, ...directors, ...end]);
    const began = this.#oracle.now;
    try {
      if (abrupt) await machine.unplug();
      else await machine.close();
    } catch (error) {
      return this.#excuse(error, 'a close');
    }
    this.#count('shutdown');
    if (!abrupt) this.#oracle.flushed(began);
    // Not the promises of a close that failed.
    this.#clean = this.#faults === this.#faultsBefore;
    const open = [...this.#storage.files.values()].filter((file) => file.handles > 0);
    const leaks = [...open.map((file) => `'${file.name}' is open`), ...machine.leaks()];
    if (this.#server.open.size > 0) leaks.push(`${this.#server.open.size} answers are waited for`);
    if (leaks.length > 0) throw new OracleError(`after a shutdown ${leaks.join(', ')}`);
  }

  /** Closes everything at some moment, with whatever is in flight. */
  async #closeAll({ world, machine, phase, turmoil, oracle, count }: ActParts): Promise<void> {
    await machine.page.sleep(world.prng.pick([0, 300_000, 3e6, 30e6]));
    world.note('close all');
    count('asked: close all');
    const acting = turmoil.begin();
    const began = oracle.now;
    phase.end();
    try {
      await machine.closeAll();
      oracle.flushed(began);
      count('close all');
    } catch (error) {
      this.#excuse(error, 'a close');
    } finally {
      acting.over();
    }
    if (!acting.alone()) return;
    phase.now = 'closed';
    const files = [...this.#storage.files.values()];
    const left = files.find(({ handles, inFlight }) => handles + inFlight > 0);
    if (left !== undefined) {
      throw new OracleError(`all is closed, but for ${left.inFlight} requests of '${left.name}'`);
    }
    const leaks = machine.leaks();
    if (leaks.length > 0) throw new OracleError(`all is closed, but ${leaks.join(', ')}`);
  }

  /** As it may be opened: over one of the backing images that it was over. */
  #options(): OptionTree {
    const { prng } = this.#world;
    const backing = prng.pick(this.#oracle.backing.now);
    this.#oracle.backing.opened(backing);
    return this.#shape.options(prng, backing);
  }

  /** What failed because storage did is no bug. */
  #excuse(error: unknown, what: string): void {
    if (this.#faults === this.#faultsBefore) throw error;
    if (!(error instanceof BlockError)) throw error;
    this.#count(`${what} failed`);
  }

  #powerCut(): void {
    const { prng } = this.#world;
    this.#world.note('the power fails');
    this.#count('power cut');
    this.#clean = false;
    for (const file of this.#storage.files.values()) file.cut(prng);
  }

  /** The survivors: whole, and with what they promised. */
  async #inspect(): Promise<void> {
    const { prng } = this.#world;
    const storage = this.#storage;
    const thread = this.#world.newContext(`check${this.#machines}`);
    const graph = new Graph(thread);
    storage.syncPercent = 100;
    // Also what was closed in peace lives through a power cut.
    for (const file of storage.files.values()) file.cut(prng);
    const clean = this.#clean;
    this.#clean = false;
    await this.#world.run(thread, async () => {
      const { backing } = this.#oracle;
      for (const base of backing.bases) {
        backing.survives(base, storage.files.get(fileOf(base))!.content());
      }
      const root = await openGraph(graph, this.#options());
      if (root.state.check !== undefined) {
        const found = await root.check(prng.chance(50) ? 'leaks' : 'none');
        const { leaks, leaksFixed, corruptions } = found;
        this.#world.note(`check: ${corruptions} corrupt, ${leaks} leaks, ${leaksFixed} fixed`);
        if (found.corruptions + found.checkErrors > 0) {
          throw new OracleError(`the image is corrupt: ${found.messages.slice(0, 5).join('; ')}`);
        }
        if (clean && found.leaks + found.leaksFixed > this.#leaks) {
          throw new OracleError(`leaks after a shutdown: ${found.messages.slice(0, 5).join('; ')}`);
        }
        this.#leaks = clean ? found.leaks : Infinity;
      }
      const bytes = new Uint8Array(root.length);
      const ret = await root.preadv(0, IOVector.of(bytes));
      if (ret < 0) throw new OracleError(`the disk cannot be read: ${errorCode(ret)}`);
      this.#oracle.reopened(bytes, this.#oracle.backing.now[0]!);
      await graph.blockdevDel(DISK);
    });
    thread.terminate();
    this.#count('inspection');
  }
}
