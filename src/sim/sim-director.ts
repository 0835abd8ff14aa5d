// What happens to a disk while its guest works: moves, drains, checks, resets, one after another at
// moments of the seed's choice.

import { ENOTSUP } from '../base/ret.ts';
import { BlockError } from '../block/block-error.ts';
import type { Prng } from '../testing/prng.ts';
import type { SimWorld } from '../testing/sim-world.ts';
import { SECTOR, ZERO } from './sector-value.ts';
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

  constructor(
    world: SimWorld,
    machine: SimMachine,
    storage: SimStorage,
    oracle: DiskOracle,
    count: (kind: string) => void,
  ) {
    this.#world = world;
    this.#prng = world.prng;
    this.#machine = machine;
    this.#storage = storage;
    this.#oracle = oracle;
    this.#count = count;
  }

  /** Does `acts` things. From the page. Throws what is wrong. */
  async run(acts: number): Promise<void> {
    for (let left = acts; left > 0; left--) {
      const pause = this.#prng.pick([0, 10_000, 300_000, 3e6, 30e6]);
      if (pause > 0) await this.#machine.page.sleep(pause);
      const faults = this.#storage.faults;
      try {
        await this.#act();
      } catch (error) {
        // What failed because storage did is no bug.
        if (!(error instanceof BlockError) || this.#storage.faults === faults) throw error;
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

  /** Nothing is under way in a drained section, and nothing begins. */
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
    this.#oracle.resized(resizing, backend.length / SECTOR, [ZERO]);
    await vcpu.call('limit', () => guest.limit(Infinity));
    if (ret === -ENOTSUP) return;
    if (ret < 0) throw BlockError.fromRet(ret, 'resize', DISK);
    this.#count('resize');
  }

  async #reset(): Promise<void> {
    this.#world.note('guest reset');
    const { vcpu, guest } = this.#machine;
    await vcpu.call('reset', () => guest.reset());
  }
}
