// Commits: what the overlay holds is put into its backing image, and every read answers the same throughout;
// also after a failure, an abort, or a power cut on the way.

import { BlockError } from '../block/block-error.ts';
import { commitDisk } from '../block/jobs/commit.ts';
import { Job } from '../block/jobs/job.ts';
import type { Acting, ActParts } from './act-parts.ts';
import { OracleError } from './oracle-error.ts';
import { BASE, ZERO } from './sector-value.ts';
import { DISK } from './sim-machine.ts';
import { isAdded } from './sim-reopen.ts';
import { fileOf } from './sim-shapes.ts';

/** So many of those that must be refused are tried. */
const REFUSED_PERCENT = 25;

export class SimCommit {
  readonly #parts: ActParts;
  #made = 0;

  constructor(parts: ActParts) {
    this.#parts = parts;
  }

  /** Into the backing image of the moment, or refused where it cannot be written to. */
  commit(acting: Acting): Promise<void> {
    const { turmoil, world } = this.#parts;
    const { prng } = world;
    // Neither the backing image nor the size is another meanwhile.
    return turmoil.once('backing', () =>
      turmoil.once('size', () => {
        const code = this.#refusal();
        if (code === undefined) return this.#commit();
        return prng.chance(REFUSED_PERCENT) ? this.#refused(acting, code) : Promise.resolve();
      }),
    );
  }

  /** With what error a commit has to be refused. */
  #refusal(): 'ENOTSUP' | 'EROFS' | undefined {
    const { oracle, shape, machine } = this.#parts;
    const into = oracle.backing.now[0]!;
    if (into === ZERO) return 'ENOTSUP';
    if (shape.overHttp && into === BASE) return 'EROFS';
    // A file that was put below the base by its name is read-only as long as nobody asks for more.
    const backing = machine.graph.find(DISK)?.children.find(({ role }) => role === 'backing');
    const named = backing?.node.children.some(({ node }) => isAdded(node.name)) ?? false;
    return named ? 'EROFS' : undefined;
  }

  async #commit(): Promise<void> {
    const { world, storage, oracle, count, cutSoon } = this.#parts;
    const { prng } = world;
    const base = storage.files.get(fileOf(oracle.backing.now[0]!))!;
    world.note(`commit into ${base.name}`);
    if (prng.chance(15)) cutSoon();
    const abortAfter = prng.chance(10) ? prng.pick([0, 100_000, 1e6]) : undefined;
    if (storage.calm === 0 && prng.chance(15)) storage.failOpenIn = 1 + prng.below(3);
    const committing = oracle.commits();
    let ok = false;
    try {
      await this.#run(abortAfter);
      ok = true;
    } catch (error) {
      if (!(error instanceof BlockError) || error.code !== 'ECANCELED') throw error;
      count('commit stopped');
      return;
    } finally {
      storage.failOpenIn = 0;
      oracle.committed(committing, ok, base.content());
    }
    count('commit');
    if (prng.chance(30)) cutSoon();
  }

  async #refused(acting: Acting, code: string): Promise<void> {
    const { world, count } = this.#parts;
    world.note(`commit, to be refused with ${code}`);
    try {
      await this.#run();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      if (acting.alone() && error.code !== code) throw error;
      count('commit refused');
      return;
    }
    throw new OracleError('committed to what cannot be written to');
  }

  async #run(abortAfterNs?: number): Promise<void> {
    const { machine } = this.#parts;
    const { io, graph } = machine;
    const id = `commit${++this.#made}`;
    const stop = new AbortController();
    const { signal } = stop;
    const reason = new BlockError('ECANCELED', `${id} was stopped`);
    await io.call('commit', async () => {
      const job = new Job(id, io, { signal });
      const running = machine.during('commit', () => commitDisk(graph, DISK, job));
      if (abortAfterNs === undefined) return running;
      await Promise.allSettled([running, io.sleep(abortAfterNs).then(() => stop.abort(reason))]);
      return running;
    });
  }
}
