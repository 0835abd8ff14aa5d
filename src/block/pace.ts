// How long work shares its thread. It breathes wherever it may be interrupted: once it has kept the
// thread for a while, guests' requests and the page's messages get a turn; and where it was aborted
// meanwhile, it ends there.

import type { AioContext } from '../aio/aio-context.ts';

/** Work between two turns of the host, nanoseconds: so long may a guest's request wait for us. */
const WORK_NS = 2_000_000;

export class Pace {
  readonly signal: AbortSignal | undefined;
  readonly #context: AioContext;
  #since: number;

  constructor(context: AioContext, signal?: AbortSignal) {
    this.#context = context;
    this.signal = signal;
    this.#since = context.now();
  }

  /**
   * Gives others a turn when it is time; undefined when it is not. Throws `signal.reason` (or rejects
   * with it) when the work was aborted.
   */
  breathe(): Promise<void> | undefined {
    this.signal?.throwIfAborted();
    return this.#context.now() - this.#since < WORK_NS ? undefined : this.#turn();
  }

  async #turn(): Promise<void> {
    await this.#context.hostTurn();
    this.#since = this.#context.now();
    this.signal?.throwIfAborted();
  }
}
