// Asks the disk for its counts twice a second and hands the answer round; not while the page is out
// of sight, and never a second time before the first answer is there.

import type { Disk, DiskStats } from '../../index.ts';
import { every, nowSeconds } from '../page-clock.ts';

export interface Sample {
  /** Seconds; monotonic. */
  readonly at: number;
  readonly stats: DiskStats;
}

const PERIOD_MS = 500;

export class DiskSampler {
  readonly #listeners = new Set<(sample: Sample) => void>();
  #stop: (() => void) | undefined;
  #asking = false;

  onSample(listener: (sample: Sample) => void): void {
    this.#listeners.add(listener);
  }

  /** Watches `disk` from now on; undefined: none. */
  watch(disk: Disk | undefined): void {
    this.#stop?.();
    this.#stop = undefined;
    if (disk === undefined) return;
    let stopped = false;
    const ask = (): void => {
      if (stopped || this.#asking || document.hidden) return;
      this.#asking = true;
      disk
        .stats()
        .then(
          (stats) => {
            if (stopped) return;
            const sample = { at: nowSeconds(), stats };
            for (const listener of this.#listeners) listener(sample);
          },
          // The disk was closed or its thread is gone: whoever did that says so.
          () => {},
        )
        .finally(() => (this.#asking = false));
    };
    const cancel = every(PERIOD_MS, ask);
    ask();
    this.#stop = (): void => {
      stopped = true;
      cancel();
    };
  }
}
