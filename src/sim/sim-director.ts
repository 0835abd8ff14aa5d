// What happens to a disk while its guest works: moves, drains, checks, resets, and what its fellows do,
// one after another at moments of the seed's choice.

import { ENOTSUP } from '../base/ret.ts';
import type { Ret } from '../base/ret.ts';
import { BlockError } from '../block/block-error.ts';
import type { Acting, ActParts } from './act-parts.ts';
import { OracleError } from './oracle-error.ts';
import { SECTOR } from './sector-value.ts';
import { SimCommit } from './sim-commit.ts';
import { SimCopies } from './sim-copies.ts';
import { DISK } from './sim-machine.ts';
import { SimReopen } from './sim-reopen.ts';
import { SimUpheaval } from './sim-upheaval.ts';

/** How often what is chosen, of the sum of all. */
interface Choice {
  readonly name: string;
  readonly weight: number;
  readonly act: (acting: Acting) => Promise<void>;
}

export class SimDirector {
  readonly #parts: ActParts;
  readonly #choices: readonly Choice[];
  readonly #total: number;

  constructor(parts: ActParts) {
    this.#parts = parts;
    const reopen = new SimReopen(parts);
    const upheaval = new SimUpheaval(parts, reopen);
    const copies = new SimCopies(parts);
    const commit = new SimCommit(parts);
    this.#choices = [
      { name: 'move', weight: 8, act: () => this.#move() },
      { name: 'drain', weight: 4, act: (acting) => this.#drain(acting) },
      { name: 'drain all', weight: 4, act: (acting) => upheaval.drainAll(acting) },
      { name: 'flush all', weight: 4, act: () => upheaval.flushAll() },
      { name: 'check', weight: 4, act: () => this.#check() },
      { name: 'guest reset', weight: 4, act: () => this.#reset() },
      { name: 'resize', weight: 6, act: () => this.#resize() },
      { name: 'map', weight: 3, act: (acting) => copies.map(acting) },
      { name: 'convert', weight: 6, act: () => copies.convert() },
      { name: 'export', weight: 6, act: () => copies.export() },
      { name: 'generation', weight: 4, act: (acting) => copies.generation(acting) },
      { name: 'reopen', weight: 4, act: (acting) => reopen.options(acting) },
      { name: 'reopen read-only', weight: 4, act: (acting) => reopen.readOnly(acting) },
      { name: 'reopen over another', weight: 8, act: (acting) => reopen.backing(acting) },
      { name: 'reopen refused', weight: 2, act: (acting) => reopen.refused(acting) },
      { name: 'inactivate', weight: 4, act: (acting) => upheaval.inactivate(acting) },
      { name: 'make empty', weight: 8, act: (acting) => upheaval.makeEmpty(acting) },
      { name: 'commit', weight: 12, act: (acting) => commit.commit(acting) },
    ];
    this.#total = this.#choices.reduce((sum, { weight }) => sum + weight, 0);
  }

  /** Does `acts` things. From the page. Throws what is wrong. */
  async run(acts: number): Promise<void> {
    const { world, machine } = this.#parts;
    for (let left = acts; left > 0; left--) {
      const pause = world.prng.pick([0, 10_000, 300_000, 3e6, 30e6]);
      if (pause > 0) await machine.page.sleep(pause);
      if (machine.closed) return;
      await this.#act();
    }
  }

  async #act(): Promise<void> {
    const { world, turmoil, mayFail, count } = this.#parts;
    let dice = world.prng.below(this.#total);
    const { name, act } = this.#choices.find(({ weight }) => (dice -= weight) < 0)!;
    count(`asked: ${name}`);
    const acting = turmoil.begin();
    try {
      await act(acting);
    } catch (error) {
      // What failed because storage did is no bug, nor what another act was in the way of.
      if (!(error instanceof BlockError)) throw error;
      if (mayFail()) count('failed act');
      else if (!acting.alone()) count('refused act');
      else throw error;
    } finally {
      acting.over();
    }
  }

  async #move(): Promise<void> {
    const { world, machine, storage, server, count } = this.#parts;
    world.note('move');
    let calm = false;
    const calmDown = (): void => {
      calm = true;
      storage.calm += 1;
      server.calm += 1;
    };
    try {
      await machine.move(calmDown);
    } finally {
      if (calm) storage.calm -= 1;
      if (calm) server.calm -= 1;
    }
    count('move');
  }

  /**
   * Nothing is under way in a drained section, and nothing begins. The server is not asked: draining a
   * node is no concern of its children, and http may read ahead.
   */
  async #drain(acting: Acting): Promise<void> {
    const { world, machine, storage, oracle, count } = this.#parts;
    world.note('drain');
    const { guest } = machine;
    await machine.onDisk('drain', async ({ io, backend }) => {
      const tickets = guest.takeLeftBehind();
      await backend.whileDrained(async () => {
        for (const ticket of tickets) oracle.over(ticket, false);
        const files = [...storage.files.values()];
        const requests = (): number => files.reduce((sum, file) => sum + file.requests, 0);
        const before = requests();
        const busy = files.find((file) => file.inFlight > 0);
        if (busy !== undefined && acting.alone()) {
          throw new OracleError(`drained, but '${busy.name}' is at work`);
        }
        await io.sleep(world.prng.pick([1000, 500_000, 20e6]));
        if (requests() !== before && acting.alone()) {
          throw new OracleError('requests in a drained section');
        }
      });
    });
    count('drain');
  }

  async #check(): Promise<void> {
    const { world, machine, count } = this.#parts;
    world.note('check');
    const found = await machine.onDisk('check', async ({ graph }) => {
      const node = graph.get(DISK);
      return node.state.check === undefined ? undefined : node.check('none');
    });
    if (found === undefined) return;
    if (found.corruptions > 0 && found.checkErrors === 0) {
      throw new OracleError(`corrupt while in use: ${found.messages.slice(0, 5).join('; ')}`);
    }
    count('check');
  }

  /** To another size; from a smaller one back at times: what was cut off is there again, and holds zeroes. */
  #resize(): Promise<void> {
    const { world, oracle, turmoil, cutSoon } = this.#parts;
    const { prng } = world;
    return turmoil.once('size', async () => {
      const before = oracle.sectors;
      if (prng.chance(20)) cutSoon();
      await this.#resizeTo(8 + prng.below(prng.pick([1, 2]) * before));
      if (oracle.sectors < before && prng.chance(80)) await this.#resizeTo(before);
      if (prng.chance(60)) cutSoon();
    });
  }

  async #resizeTo(sectors: number): Promise<void> {
    const { world, machine, oracle, count } = this.#parts;
    const { vcpu, guest } = machine;
    world.note(`resize to ${sectors} sectors`);
    // What the guest asks for lies in both sizes, once what is under way is over.
    await vcpu.call('limit', () => guest.limit(sectors));
    let ret: Ret;
    try {
      await machine.onDisk('drain', ({ backend }) => backend.drain());
      ret = await machine.onDisk('resize', async ({ backend }) => {
        const before = oracle.sectors;
        const resizing = oracle.resizes(sectors);
        const done = await backend.truncate(sectors * SECTOR);
        // It may be gone, or on another thread, by now.
        const { length } = machine.backend;
        oracle.resized(resizing, done >= 0 ? sectors : length > 0 ? length / SECTOR : before);
        return done;
      });
    } finally {
      await vcpu.call('limit', () => guest.limit(Infinity));
    }
    if (ret === -ENOTSUP) return;
    if (ret < 0) throw BlockError.fromRet(ret, 'resize', DISK);
    count('resize');
  }

  async #reset(): Promise<void> {
    const { world, machine } = this.#parts;
    world.note('guest reset');
    const { vcpu, guest } = machine;
    await vcpu.call('reset', () => guest.reset());
  }
}
