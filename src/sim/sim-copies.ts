// Copies of a disk at work: maps, conversions, exports, generations. A copy that was not refused is the disk
// of one moment.

import { IOVector } from '../base/io-vector.ts';
import type { OptionTree } from '../base/options.ts';
import { BlockError } from '../block/block-error.ts';
import { Graph } from '../block/graph.ts';
import { convertDisk } from '../block/jobs/convert.ts';
import { ImageExport } from '../block/jobs/export.ts';
import { Job } from '../block/jobs/job.ts';
import { mapDisk } from '../block/jobs/map.ts';
import { openGraph } from '../block/open.ts';
import { calmly } from './act-parts.ts';
import type { Acting, ActParts } from './act-parts.ts';
import type { Reading } from './disk-oracle.ts';
import { OracleError } from './oracle-error.ts';
import { SimFile } from './sim-file.ts';
import { DISK } from './sim-machine.ts';

export class SimCopies {
  readonly #parts: ActParts;
  #made = 0;

  constructor(parts: ActParts) {
    this.#parts = parts;
  }

  /** From start to end, without a gap. */
  async map(acting: Acting): Promise<void> {
    const { world, machine, count } = this.#parts;
    world.note('map');
    const { entries, length } = await machine.onDisk('map', async ({ io, backend }) => {
      const bytes = backend.length;
      return { length: bytes, entries: await mapDisk(backend, 0, bytes, new Job('map', io)) };
    });
    const end = entries.reduce((at, entry) => (entry.start === at ? at + entry.length : NaN), 0);
    if (end !== length && acting.alone()) {
      throw new OracleError(`the map ends at ${end} of ${length} bytes`);
    }
    count('map');
  }

  /** Into a new image, which is there afterwards, or not when somebody wrote meanwhile. */
  async convert(): Promise<void> {
    const { world, machine, storage, oracle, count } = this.#parts;
    const disk = `copy${world.events}-${++this.#made}`;
    world.note(`convert to ${disk}`);
    const { io, graph } = machine;
    const target = { driver: 'qcow2', cluster_size: 512, file: { driver: 'sim-storage', disk } };
    const reading = oracle.reads(0, oracle.sectors);
    let done = false;
    try {
      await this.#perhapsWritten(() =>
        io.call('convert', () => convertDisk(graph, DISK, target, new Job(disk, io))),
      );
      done = true;
    } catch (error) {
      if (!(error instanceof BlockError) || error.code !== 'ESTALE') throw error;
      count('stale convert');
    } finally {
      if (!done) oracle.read(reading, undefined);
      const file = storage.files.get(disk);
      if (done !== (file !== undefined)) {
        throw new OracleError(`convert: ${disk} is ${done ? 'not' : ''} there`);
      }
      if (file !== undefined && file.handles > 0)
        throw new OracleError(`convert left ${disk} open`);
    }
    if (!done) return;
    await this.#verify(reading, { driver: 'qcow2', file: target.file, backing: null });
    storage.files.delete(disk);
    count('convert');
  }

  /** As a stream, to its end or not. */
  async export(): Promise<void> {
    const { world, machine, storage, oracle, count } = this.#parts;
    const { prng } = world;
    const format = prng.pick(['raw', 'qcow2']);
    const disk = `export${world.events}-${++this.#made}`;
    const givesUp = prng.chance(10);
    world.note(`export as ${format}`);
    const { io, graph } = machine;
    const reading = oracle.reads(0, oracle.sectors);
    let bytes: Uint8Array | undefined;
    try {
      const copying = (): Promise<Uint8Array | undefined> =>
        io.call('export', async () => {
          const stream = await ImageExport.begin(graph, DISK, format, new Job(disk, io));
          try {
            const image = new Uint8Array(stream.length);
            let at = 0;
            for (let part = givesUp ? undefined : await stream.next(); part !== undefined;) {
              image.set(part, at);
              at += part.length;
              part = await stream.next();
            }
            return givesUp ? undefined : image;
          } finally {
            await stream.close();
          }
        });
      bytes = await this.#perhapsWritten(copying);
    } catch (error) {
      if (!(error instanceof BlockError) || error.code !== 'ESTALE') throw error;
      count('stale export');
    } finally {
      if (bytes === undefined) oracle.read(reading, undefined);
    }
    if (bytes === undefined) return;
    storage.add(new SimFile(disk, bytes));
    const file = { driver: 'sim-storage', disk };
    const image =
      format === 'raw' ? { driver: 'raw', file } : { driver: 'qcow2', file, backing: null };
    await this.#verify(reading, image);
    storage.files.delete(disk);
    count('export');
  }

  async generation(acting: Acting): Promise<void> {
    const { world, machine, count } = this.#parts;
    world.note('generation');
    const { io, graph } = machine;
    const { writeGeneration, state } = graph.get(DISK);
    const first = await io.call('generation', () => graph.get(DISK).generation());
    const second = await io.call('generation', () => graph.get(DISK).generation());
    const after = graph.get(DISK);
    // Opened for reading only, a file is known by its date; for writing, by what it was opened for.
    const same = after.writeGeneration === writeGeneration && after.state === state;
    // A commit is no write of the disk, but its images are others.
    if (same && acting.alone() && first !== second)
      throw new OracleError('another generation, but nothing was written');
    count('generation');
  }

  /** Runs `copy`, at times while the guest is at work for certain. */
  async #perhapsWritten<T>(copy: () => Promise<T>): Promise<T> {
    const { machine, storage, world } = this.#parts;
    if (world.prng.chance(40)) return copy();
    const { vcpu, guest } = machine;
    let over = false;
    storage.busy += 1;
    const copying = copy().finally(() => {
      storage.busy -= 1;
      over = true;
    });
    const results = await Promise.allSettled([
      copying,
      vcpu.call('guest', () => guest.alternate(() => !over)),
    ]);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return copying;
  }

  /** Opens the copy, and compares. */
  async #verify(reading: Reading, options: OptionTree): Promise<void> {
    const { machine, oracle } = this.#parts;
    const { io } = machine;
    await io.call('verify', () =>
      calmly(this.#parts, async () => {
        const graph = new Graph(io, '#copy');
        const root = await openGraph(graph, { ...options, 'read-only': true });
        const bytes = new Uint8Array(root.length);
        const ret = await root.preadv(0, IOVector.of(bytes));
        await graph.closeAll();
        if (ret < 0) throw new OracleError('a copy cannot be read');
        oracle.copied(reading, bytes);
      }),
    );
  }
}
