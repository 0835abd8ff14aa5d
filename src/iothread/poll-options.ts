// The polling properties of an IOThread in the words of its options: QEMU's poll-max-ns, poll-grow
// and poll-shrink.

import type { PollSettings } from '../aio/poll-policy.ts';
import { BlockError } from '../block/block-error.ts';

/** How an IOThread busy-waits before it sleeps. */
export interface PollOptions {
  /** Longest busy wait, nanoseconds; 0 turns polling off. Default 500,000 (QEMU: 32,768). */
  readonly pollMaxNs?: number;
  /** What a busy wait that was too short grows by, a factor; 0, the default: to twice what was needed. */
  readonly pollGrow?: number;
  /** What one is divided by that was in vain four times; 0, the default, ends polling for a while. */
  readonly pollShrink?: number;
}

/** `options` over `base`. Throws BlockError EINVAL. */
export function parsePollOptions(options: PollOptions, base: PollSettings): PollSettings {
  const read = (name: keyof PollOptions, otherwise: number): number => {
    const value = options[name] ?? otherwise;
    if (Number.isSafeInteger(value) && value >= 0) return value;
    const message = `${name}: ${String(value)} is no whole number from 0 to 2^53 - 1`;
    throw new BlockError('EINVAL', message);
  };
  return {
    maxNs: read('pollMaxNs', base.maxNs),
    grow: read('pollGrow', base.grow),
    shrink: read('pollShrink', base.shrink),
  };
}
