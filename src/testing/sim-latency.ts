// How long things take in a simulation. Mostly a little, sometimes far longer: bugs of order hide
// where something that always came first comes last.

import type { Prng } from './prng.ts';

/** Nanoseconds: evenly between `minNs` and `maxNs`, but in `slowPercent` of 100 cases up to `slowNs`. */
export interface Latency {
  readonly minNs: number;
  readonly maxNs: number;
  readonly slowPercent?: number;
  readonly slowNs?: number;
}

/** From one turn of a busy loop to its next; slow: the thread was preempted. */
export const TURN: Latency = { minNs: 200, maxNs: 2000, slowPercent: 2, slowNs: 200_000 };
/** From a futex wake to the first turn. */
export const WAKE: Latency = { minNs: 2000, maxNs: 20_000, slowPercent: 5, slowNs: 1_000_000 };
/** A turn of the host's own event loop. */
export const HOST_TURN: Latency = { minNs: 5000, maxNs: 20_000, slowPercent: 2, slowNs: 1_000_000 };
/** A message between threads. */
export const MESSAGE: Latency = { minNs: 10_000, maxNs: 60_000, slowPercent: 5, slowNs: 2_000_000 };
/** A call of asynchronous storage. */
export const STORAGE: Latency = { minNs: 50_000, maxNs: 500_000, slowPercent: 5, slowNs: 20e6 };
/** A request over a network. */
export const NETWORK: Latency = { minNs: 5e6, maxNs: 80e6, slowPercent: 10, slowNs: 2e9 };

/** One draw, whole nanoseconds. A number stands for itself. */
export function draw(latency: Latency | number, prng: Prng): number {
  if (typeof latency === 'number') return latency;
  const { minNs, maxNs, slowPercent = 0, slowNs = maxNs } = latency;
  if (slowPercent > 0 && prng.chance(slowPercent)) return maxNs + prng.below(slowNs - maxNs + 1);
  return minNs + prng.below(maxNs - minNs + 1);
}
