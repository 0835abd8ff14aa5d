// What is done to a whole graph at work: everything flushed, everything drained, all images let go of and
// taken up again; and an overlay that is thrown away.

import { IOVector } from '../base/io-vector.ts';
import { EPERM } from '../base/ret.ts';
import { BlockError } from '../block/block-error.ts';
import { whileAllDrained } from '../block/drain.ts';
import { flushGraph } from '../block/flush-all.ts';
import { activateAll, inactivateAll } from '../block/inactivate.ts';
import type { Acting, ActParts } from './act-parts.ts';
import { OracleError } from './oracle-error.ts';
import { SECTOR, ZERO } from './sector-value.ts';
import { DISK } from './sim-machine.ts';
import { look } from './sim-reopen.ts';
import type { SimReopen } from './sim-reopen.ts';

export class SimUpheaval {
  readonly #parts: ActParts;
  readonly #reopen: SimReopen;

  constructor(parts: ActParts, reopen: SimReopen) {
    this.#parts = parts;
    this.#reopen = reopen;
  }

  async flushAll(): Promise<void> {
    const { world, machine, oracle, count, cutSoon } = this.#parts;
    world.note('flush all');
    const { io, graph } = machine;
    const began = oracle.now;
    await io.call('flush all', async () => {
      graph.get(DISK);
      await machine.during('flushAll', () => flushGraph(graph));
    });
    oracle.flushed(began);
    count('flush all');
    if (world.prng.chance(30)) cutSoon();
  }

  /** Nothing of the whole graph is under way then, and nothing begins. */
  async drainAll(acting: Acting): Promise<void> {
    const { world, machine, storage, oracle, count } = this.#parts;
    world.note('drain all');
    const { io, graph, guest } = machine;
    await io.call('drain all', async () => {
      const tickets = guest.takeLeftBehind();
      await whileAllDrained(graph, async () => {
        if (graph.find(DISK) !== undefined)
          for (const ticket of tickets) oracle.over(ticket, false);
        else guest.giveBack(tickets);
        const answered = graph.backends.map(({ stats }) => stats.rdOperations + stats.wrOperations);
        const requests = (): number =>
          [...storage.files.values()].reduce((sum, file) => sum + file.requests, 0);
        const before = requests();
        const busy = [...storage.files.values()].find((file) => file.inFlight > 0);
        if (acting.alone() && busy !== undefined) {
          throw new OracleError(`all is drained, but '${busy.name}' is at work`);
        }
        const { backends } = graph;
        await io.sleep(world.prng.pick([1000, 500_000, 20e6]));
        backends.forEach(({ label, inFlight, stats }, i) => {
          const same = stats.rdOperations + stats.wrOperations === answered[i];
          if (!same || inFlight > 0) throw new OracleError(`all is drained, but for ${label}`);
        });
        if (acting.alone() && requests() !== before) {
          throw new OracleError('requests while all is drained');
        }
      });
    });
    count('drain all');
  }

  /** All images are let go of, durably; somebody else may have them; then they are taken up again. */
  inactivate(acting: Acting): Promise<void> {
    const { world, machine, storage, oracle, phase, turmoil, count, cutSoon } = this.#parts;
    const { prng } = world;
    return turmoil.once('phase', async () => {
      world.note('inactivate');
      const { io, graph } = machine;
      const began = oracle.now;
      phase.now = 'changing';
      try {
        await io.call('inactivate', async () => {
          graph.get(DISK);
          await machine.during('inactivate', () => inactivateAll(graph));
          // It may have moved away just before.
          graph.get(DISK);
        });
      } catch (error) {
        phase.now = 'open';
        throw error;
      }
      oracle.flushed(began);
      phase.now = 'inactive';
      count('inactivate');
      await io.call('look', () => this.#lookInactive(acting));
      if (prng.chance(25)) cutSoon();
      await machine.page.sleep(prng.pick([1000, 500_000, 20e6]));
      phase.now = 'changing';
      const taken = storage.files.get('top')!;
      const activate = (): Promise<void> =>
        io.call('activate', async () => {
          if (!machine.closed) graph.get(DISK);
          await activateAll(graph);
        });
      if (prng.chance(40) && acting.alone()) {
        taken.locked = true;
        const refused = await activate().then(
          () => false,
          () => true,
        );
        if (acting.alone() && !refused) throw new OracleError('active, but another has its image');
        await io.call('look', () => this.#lookInactive(acting, true));
        taken.locked = false;
        count('activate refused');
      }
      await this.#reopen.backAgain('active', async () => {
        const before = look(graph);
        if (storage.calm === 0 && prng.chance(20)) storage.failOpenIn = 1 + prng.below(3);
        try {
          await activate();
          count('activate');
        } catch (error) {
          if (acting.alone() && look(graph) !== before) {
            throw new OracleError(`activating failed, and not all is inactive: ${String(error)}`);
          }
          throw error;
        } finally {
          storage.failOpenIn = 0;
        }
      });
    });
  }

  /** What the guest wrote is thrown away, and the backing image shows, durably. */
  makeEmpty(acting: Acting): Promise<void> {
    const { world, machine, oracle, turmoil, count, cutSoon } = this.#parts;
    return turmoil.once('size', async () => {
      if (oracle.backing.now[0] === ZERO) return;
      world.note('make empty');
      const { io, graph } = machine;
      const ticket = oracle.empties();
      let ok = false;
      try {
        await io.call('make empty', async () => {
          const node = graph.get(DISK);
          const before = node.writeGeneration;
          await machine.during('makeEmpty', () => node.makeEmpty());
          ok = true;
          if (node.writeGeneration === before)
            throw new OracleError('emptied, but nothing written');
        });
      } catch (error) {
        const backless = error instanceof BlockError && error.code === 'ENOTSUP';
        if (backless && acting.alone()) throw new OracleError(error.message);
        throw error;
      } finally {
        oracle.emptied(ticket, ok);
      }
      count('make empty');
      if (world.prng.chance(30)) cutSoon();
    });
  }

  /** Requests fail, and no file is open. */
  async #lookInactive(acting: Acting, taken = false): Promise<void> {
    const { machine, storage } = this.#parts;
    if (!acting.alone()) return;
    const open = [...storage.files.values()].find((file) => file.handles > 0);
    if (open !== undefined) throw new OracleError(`all is inactive, but '${open.name}' is open`);
    const locked = storage.files.get('top')!.locked;
    if (locked !== taken) throw new OracleError('all is inactive, but its file is locked');
    const { backend } = machine;
    const sector = IOVector.of(new Uint8Array(SECTOR));
    const answers = await Promise.all([backend.preadv(0, sector), backend.pwritev(0, sector)]);
    // One that was lost on its way back from read-only is still that.
    const lost = machine.graph.get(DISK).readOnly;
    if (acting.alone() && !lost && answers.some((ret) => ret !== -EPERM)) {
      throw new OracleError(`all is inactive, but requests answer ${answers.join(', ')}`);
    }
  }
}
