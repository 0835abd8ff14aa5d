// The polling properties of an IOThread in the words of its options: QEMU's poll-max-ns, poll-grow
// and poll-shrink.

import type { PollSettings } from '../aio/poll-policy.ts';
import { BlockError } from '../block/block-error.ts';

/** How an IOThread busy-waits before it sleeps. */
export interface PollOptions {
  /** Longest busy wait, nanoseconds; 0 turns polling off. Default 32768, as QEMU. */
  readonly pollMaxNs?: number;
  /** What a busy wait that was too short grows by, a factor; 0, the default, is 2. */
  readonly pollGrow?: number;
  /** What one that was in vain is divided by; 0, the default, ends polling at once. */
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
