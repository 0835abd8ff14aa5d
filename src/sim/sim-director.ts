// What happens to a disk while its guest works: moves, drains, checks, resets, one after another at
// moments of the seed's choice.

import { ENOTSUP } from '../base/ret.ts';
import { BlockError } from '../block/block-error.ts';
import { convertDisk } from '../block/jobs/convert.ts';
import { Job } from '../block/jobs/job.ts';
import { mapDisk } from '../block/jobs/map.ts';
import type { Prng } from '../testing/prng.ts';
import type { SimWorld } from '../testing/sim-world.ts';
import { SECTOR } from './sector-value.ts';
import { OracleError } from './disk-oracle.ts';
import type { DiskOracle } from './disk-oracle.ts';
import { DISK } from './sim-machine.ts';
import type { SimMachine } from './sim-machine.ts';
import type { SimStorage } from './sim-storage.ts';

export class SimDirector {
  readonly #world: SimWorld;
  readonly #prng: Prng;
  readonly #machine: SimMachine;
  readonly #storage: SimStorage;
  readonly #oracle: DiskOracle;
  readonly #count: (kind: string) => void;
  readonly #mayFail: () => boolean;

  constructor(
    world: SimWorld,
    machine: SimMachine,
    storage: SimStorage,
    oracle: DiskOracle,
    mayFail: () => boolean,
    count: (kind: string) => void,
  ) {
    this.#world = world;
    this.#prng = world.prng;
    this.#machine = machine;
    this.#storage = storage;
    this.#oracle = oracle;
    this.#mayFail = mayFail;
    this.#count = count;
  }

  /** Does `acts` things. From the page. Throws what is wrong. */
  async run(acts: number): Promise<void> {
    for (let left = acts; left > 0; left--) {
      const pause = this.#prng.pick([0, 10_000, 300_000, 3e6, 30e6]);
      if (pause > 0) await this.#machine.page.sleep(pause);
      try {
        await this.#act();
      } catch (error) {
        // What failed because storage did is no bug.
        if (!(error instanceof BlockError) || !this.#mayFail()) throw error;
        this.#count('failed act');
      }
    }
  }

  #act(): Promise<void> {
    const acts = [
      () => this.#move(),
      () => this.#move(),
      () => this.#drain(),
      () => this.#check(),
      () => this.#reset(),
      () => this.#resize(),
      () => this.#map(),
      () => this.#convert(),
      () => this.#generation(),
    ];
    return this.#prng.pick(acts)();
  }

  async #move(): Promise<void> {
    this.#world.note('move');
    const { faultPermille } = this.#storage;
    try {
      await this.#machine.move(() => (this.#storage.faultPermille = 0));
    } finally {
      this.#storage.faultPermille = faultPermille;
    }
    this.#count('move');
  }

  /**
   * Nothing is under way in a drained section, and nothing begins. The server is not asked: draining a
   * node is no concern of its children, and http may read ahead.
   */
  async #drain(): Promise<void> {
    this.#world.note('drain');
    const { io, backend, guest } = this.#machine;
    const files = [...this.#storage.files.values()];
    await io.call('drain', async () => {
      const tickets = guest.takeLeftBehind();
      await backend.whileDrained(async () => {
        for (const ticket of tickets) this.#oracle.over(ticket, false);
        const requests = (): number => files.reduce((sum, file) => sum + file.requests, 0);
        const before = requests();
        const busy = files.find((file) => file.inFlight > 0);
        if (busy !== undefined) throw new OracleError(`drained, but '${busy.name}' is at work`);
        await io.sleep(this.#prng.pick([1000, 500_000, 20e6]));
        if (requests() !== before) throw new OracleError('requests in a drained section');
      });
    });
    this.#count('drain');
  }

  async #check(): Promise<void> {
    this.#world.note('check');
    const { io, graph } = this.#machine;
    const node = graph.get(DISK);
    if (node.state.check === undefined) return;
    const found = await io.call('check', () => node.check('none'));
    if (found.corruptions > 0 && found.checkErrors === 0) {
      throw new OracleError(`corrupt while in use: ${found.messages.slice(0, 5).join('; ')}`);
    }
    this.#count('check');
  }

  async #resize(): Promise<void> {
    const { io, vcpu, backend, guest } = this.#machine;
    const sectors = 8 + this.#prng.below(2 * this.#oracle.sectors);
    this.#world.note(`resize to ${sectors} sectors`);
    // What the guest asks for lies in both sizes, once what is under way is over.
    await vcpu.call('limit', () => guest.limit(sectors));
    await io.call('drain', () => backend.drain());
    const resizing = this.#oracle.resizes(sectors);
    const ret = await io.call('resize', () => backend.truncate(sectors * SECTOR));
    this.#oracle.resized(resizing, backend.length / SECTOR);
    await vcpu.call('limit', () => guest.limit(Infinity));
    if (ret === -ENOTSUP) return;
    if (ret < 0) throw BlockError.fromRet(ret, 'resize', DISK);
    this.#count('resize');
  }

  /** From start to end, without a gap. */
  async #map(): Promise<void> {
    this.#world.note('map');
    const { io, backend } = this.#machine;
    const { length } = backend;
    const job = (): Job => new Job('map', io);
    const entries = await io.call('map', () => mapDisk(backend, 0, length, job()));
    const end = entries.reduce((at, entry) => (entry.start === at ? at + entry.length : NaN), 0);
    if (end !== length) throw new OracleError(`the map ends at ${end} of ${length} bytes`);
    this.#count('map');
  }

  /** Into a new image, which is there afterwards, or not when somebody wrote meanwhile. */
  async #convert(): Promise<void> {
    const disk = `copy${this.#world.events}`;
    this.#world.note(`convert to ${disk}`);
    const { io, graph } = this.#machine;
    const target = { driver: 'qcow2', cluster_size: 512, file: { driver: 'sim-storage', disk } };
    let done = false;
    try {
      await io.call('convert', () => convertDisk(graph, DISK, target, new Job(disk, io)));
      done = true;
      this.#count('convert');
    } catch (error) {
      if (!(error instanceof BlockError) || error.code !== 'ESTALE') throw error;
      this.#count('stale convert');
    }
    const file = this.#storage.files.get(disk);
    if (done !== (file !== undefined))
      throw new OracleError(`convert: ${disk} is ${done ? 'not' : ''} there`);
    if (file !== undefined && file.handles > 0) throw new OracleError(`convert left ${disk} open`);
    this.#storage.files.delete(disk);
  }

  async #generation(): Promise<void> {
    this.#world.note('generation');
    const { io, graph } = this.#machine;
    const before = graph.get(DISK).writeGeneration;
    const first = await io.call('generation', () => graph.get(DISK).generation());
    const second = await io.call('generation', () => graph.get(DISK).generation());
    const same = graph.get(DISK).writeGeneration === before;
    if (same && first !== second)
      throw new OracleError('another generation, but nothing was written');
    this.#count('generation');
  }

  async #reset(): Promise<void> {
    this.#world.note('guest reset');
    const { vcpu, guest } = this.#machine;
    await vcpu.call('reset', () => guest.reset());
  }
}
