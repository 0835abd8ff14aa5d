// An allocating write between taking its clusters and linking them into the L2 table. Others that
// want the same guest clusters wait for it (QEMU's handle_dependencies).

import { OK } from '../../../base/ret.ts';
import type { Ret } from '../../../base/ret.ts';

export class Allocation {
  /** Guest offset of the first cluster, and bytes of all. Within one L2 slice. */
  readonly guest: number;
  readonly bytes: number;
  /** Host offset of the clusters, contiguous. */
  readonly host: number;
  /** They were taken for this write; otherwise they were there, under a zero flag. */
  readonly taken: boolean;
  /** The host clusters read as zeroes already. */
  readonly fresh: boolean;
  /** The guest clusters read as zeroes until now. */
  readonly zeroes: boolean;
  #waiting: ((ret: Ret) => void)[] = [];

  constructor(
    guest: number,
    bytes: number,
    host: number,
    flags: { readonly taken: boolean; readonly fresh: boolean; readonly zeroes: boolean },
  ) {
    this.guest = guest;
    this.bytes = bytes;
    this.host = host;
    this.taken = flags.taken;
    this.fresh = flags.fresh;
    this.zeroes = flags.zeroes;
  }

  /** Resolves when it is linked, or has failed. */
  ended(): Promise<Ret> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Wakes those who wait. */
  end(): void {
    for (const wake of this.#waiting) wake(OK);
    this.#waiting = [];
  }
}
