// Fault and retry. Mapping, allocating and linking are synchronous attempts over cached tables: one
// that misses a table changes nothing, leaves behind what would help, and answers FAULT. Whoever
// called it runs the help (now or later) and attempts again. So every change is atomic, no lock is
// held across I/O, and no algorithm has a second, asynchronous copy.

import { assert } from '../../../base/assert.ts';
import { OK } from '../../../base/ret.ts';
import type { MaybeRet, Ret } from '../../../base/ret.ts';

/** No errno: call `resolve`, then attempt again. */
export const FAULT = -0x4000_0000;

export class Faults {
  #help: (() => MaybeRet) | undefined;
  #busy: Promise<Ret> | undefined;

  /** Says what would help, and answers FAULT. */
  fault(help: () => MaybeRet): typeof FAULT {
    this.#help = help;
    return FAULT;
  }

  /** Runs the help of the attempt that just faulted. OK: attempt again. */
  resolve(): MaybeRet {
    const help = this.#help;
    assert(help !== undefined, 'a fault leaves its help');
    this.#help = undefined;
    return help();
  }

  /** Attempts until it is no fault. For cold paths; a hot one writes its loop out. */
  retry(attempt: () => Ret): MaybeRet {
    for (;;) {
      const ret = attempt();
      if (ret !== FAULT) return ret;
      const helped = this.resolve();
      if (typeof helped !== 'number') {
        return helped.then((later) => (later < 0 ? later : this.retry(attempt)));
      }
      if (helped < 0) return helped;
    }
  }

  /** True while an exclusive operation waits for I/O: tables must not be changed. */
  get busy(): boolean {
    return this.#busy !== undefined;
  }

  /** The help that waits for the exclusive operation, however it ends. */
  readonly idle = (): MaybeRet => (this.#busy === undefined ? OK : this.#busy.then(() => OK));

  /**
   * Runs `operation`, during which nobody else changes tables. Only while not `busy`: an attempt
   * looks first, and `resolve` follows at once.
   */
  exclusive(operation: () => MaybeRet): MaybeRet {
    assert(this.#busy === undefined, 'exclusive operations do not nest');
    const ret = operation();
    if (typeof ret === 'number') return ret;
    const busy = ret.then((later) => {
      this.#busy = undefined;
      return later;
    });
    this.#busy = busy;
    return busy;
  }
}
