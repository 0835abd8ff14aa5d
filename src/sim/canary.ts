// How a bug is planted on purpose: a method is replaced for as long as one seed runs, and the code under test
// stays as it is.

import { OK } from '../base/ret.ts';
import type { MaybeRet } from '../base/ret.ts';
import { BlockNode } from '../block/block-node.ts';
import { Prng } from '../testing/prng.ts';
import { DISK } from './sim-machine.ts';
import { runSeed } from './sim-scenario.ts';
import type { ScenarioResult, ScenarioSeams } from './sim-scenario.ts';

export interface Canary {
  /** The bug, in words. */
  readonly name: string;
  /** Plants it. `prng` decides when it strikes. */
  readonly plant: (patch: Patch, prng: Prng) => ScenarioSeams | void;
}

/** Method `K` of `T`. */
type Method<T, K extends keyof T> = T[K] extends (...args: infer A) => infer R
  ? (this: T, ...args: A) => R
  : never;

/** Puts `around(original)` in the place of a method; all of it is taken back after the seed. */
export type Patch = <T extends object, K extends keyof T>(
  prototype: T,
  method: K,
  around: (original: Method<T, K>) => Method<T, K>,
) => void;

/** Runs `seed` with the bug in. */
export async function runWithCanary(seed: number, canary: Canary): Promise<ScenarioResult> {
  const undo: (() => void)[] = [];
  const patch: Patch = (prototype, method, around) => {
    const original = prototype[method];
    undo.push(() => (prototype[method] = original));
    prototype[method] = around(original as never) as never;
  };
  try {
    const seams = canary.plant(patch, new Prng(seed)) ?? {};
    return await runSeed(seed, seams);
  } finally {
    for (const step of undo.reverse()) step();
  }
}

/** Has the flushes do nothing that node `disk`'s driver makes of its file within `method`. */
export function withoutFlushes(patch: Patch, method: 'flush' | 'truncate' | 'makeEmpty'): void {
  let within = 0;
  const leave = (): void => void (within -= 1);
  patch(BlockNode.prototype, 'flush', (original) => function () {
    return within > 0 && this.kind === 'protocol' ? OK : original.call(this);
  }); // prettier-ignore
  patch(BlockNode.prototype, 'become', (original) => function (opened) {
    const { state } = opened;
    const real = state[method]?.bind(state) as ((length?: number) => MaybeRet) | undefined;
    if (this.name === DISK && real !== undefined) {
      const wrapped = (length?: number): MaybeRet => {
        within += 1;
        const ret = real(length);
        if (typeof ret === 'number') leave();
        else void ret.then(leave);
        return ret;
      };
      Object.assign(state, { [method]: wrapped });
    }
    original.call(this, opened);
  }); // prettier-ignore
}
