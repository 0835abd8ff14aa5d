// Notices that a disk was written to while a job read it. What was read is then neither the disk of
// before nor of after, and must not pass for one: the job fails, and says what to do.

import type { BlockBackend } from '../block-backend.ts';
import { BlockError } from '../block-error.ts';
import type { Job } from './job.ts';

export class WriteWatch {
  readonly #source: BlockBackend;
  readonly #job: Job;
  readonly #generation: number;

  /** Waits for the writes under way, then flushes the disk. Throws BlockError. */
  static async begin(source: BlockBackend, job: Job): Promise<WriteWatch> {
    const { root } = source;
    if (root?.shared === true) {
      const message = `node '${root.name}' is open on several IOThreads, whose writes cannot be watched. Take the device with its iothreadVqMapping away, close the disk and open it again`;
      throw new BlockError('ENOTSUP', message, { node: root.name });
    }
    const generation = await settled(source, job);
    const ret = root === null ? 0 : await job.wait(Promise.resolve(root.flush()));
    if (ret < 0) throw BlockError.fromRet(ret, `flush of '${root!.name}'`, root!.name);
    return new WriteWatch(source, job, generation);
  }

  private constructor(source: BlockBackend, job: Job, generation: number) {
    this.#source = source;
    this.#job = job;
    this.#generation = generation;
  }

  /** Throws BlockError('ESTALE') when a write was answered since `begin`. */
  check(): void {
    this.#compare(this.#source.root?.writeGeneration);
  }

  /** To be called when all is read: waits for writes under way, then as `check`. */
  async end(): Promise<void> {
    this.#compare(await settled(this.#source, this.#job));
  }

  #compare(generation: number | undefined): void {
    if (generation === undefined || generation === this.#generation) return;
    const node = this.#source.root?.name ?? '';
    throw new BlockError(
      'ESTALE',
      `node '${node}' was written to while it was being copied, so the copy would be of no moment ` +
        'that ever was. Pause what uses the disk, or shut it down, and start again',
      { node },
    );
  }
}

/** The generation once no write is under way, which might be of a time before or after. */
async function settled(source: BlockBackend, job: Job): Promise<number> {
  const { root } = source;
  if (root === null) return 0;
  if (root.readOnly) return root.writeGeneration;
  return job.wait(source.whileDrained(async () => root.writeGeneration));
}
