// Group commit: of many flushes at a time one runs, and those that come meanwhile share the next.
// The shared one starts after the last of them came, so it covers what each of them must cover.

import type { MaybeRet, Ret } from '../base/ret.ts';

export class FlushGroup {
  #running: Promise<Ret> | undefined;
  #next: Promise<Ret> | undefined;

  /** Runs `flush` now, or joins the run that follows the one under way. */
  join(flush: () => MaybeRet): MaybeRet {
    if (this.#running === undefined && this.#next === undefined) return this.#start(flush);
    this.#next ??= this.#afterRunning(flush);
    return this.#next;
  }

  #start(flush: () => MaybeRet): MaybeRet {
    const ret = flush();
    if (typeof ret === 'number') return ret;
    const running = ret.finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #afterRunning(flush: () => MaybeRet): Promise<Ret> {
    try {
      await this.#running;
    } catch {
      // Its own callers hear of it.
    }
    this.#next = undefined;
    return this.#start(flush);
  }
}
