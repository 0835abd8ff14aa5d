// Measures a thing and its baseline side by side: short rounds, taking turns, after a warm-up of each.
// A slow phase of the machine then meets both.

import { median, medianRatio } from './statistics.ts';

export interface Rounds {
  /** Rounds of each side. */
  readonly count: number;
  /** Length of a round, milliseconds. */
  readonly ms: number;
  /** Warm-up of each side, milliseconds. */
  readonly warmUpMs: number;
  /** Ends the row after the present round, with the signal's reason. */
  readonly signal?: AbortSignal;
}

export const DEFAULT_ROUNDS: Rounds = { count: 9, ms: 150, warmUpMs: 400 };

/** One round of one side. */
export interface Sample {
  /** Requests completed. */
  readonly requests: number;
  /** How long that took, nanoseconds. */
  readonly ns: number;
}

/** Measures for about `ns` nanoseconds. */
export type Measure = (ns: number) => Promise<Sample>;

/** Requests per second of both sides, over all rounds. */
export interface SideBySide {
  readonly value: number;
  readonly baseline: number;
  readonly ratio: number;
}

/** The same with rounds `factor` times as long, for what is slow. */
export function paced(rounds: Rounds, factor: number): Rounds {
  return { ...rounds, ms: rounds.ms * factor };
}

/** `started` runs between the warm-up and the first round: the place to begin counting. */
export async function sideBySide(
  rounds: Rounds,
  measure: Measure,
  baseline: Measure,
  started: () => Promise<void> = async () => {},
): Promise<SideBySide> {
  await baseline(rounds.warmUpMs * 1e6);
  await measure(rounds.warmUpMs * 1e6);
  await started();
  const values: number[] = [];
  const baselines: number[] = [];
  for (let i = 0; i < rounds.count; i++) {
    rounds.signal?.throwIfAborted();
    baselines.push(perSecond(await baseline(rounds.ms * 1e6)));
    values.push(perSecond(await measure(rounds.ms * 1e6)));
  }
  return {
    value: median(values),
    baseline: median(baselines),
    ratio: medianRatio(values, baselines),
  };
}

function perSecond(sample: Sample): number {
  return (sample.requests * 1e9) / sample.ns;
}
