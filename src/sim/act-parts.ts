// What whoever acts on a disk while its guest works has at hand, and how it is found out whether an act was
// alone: two at a time may refuse each other, and see what the other does.

import type { SimWorld } from '../testing/sim-world.ts';
import type { DiskOracle } from './disk-oracle.ts';
import type { DiskPhase } from './disk-phase.ts';
import type { SimMachine } from './sim-machine.ts';
import type { SimServer } from './sim-server.ts';
import type { SimShape } from './sim-shapes.ts';
import type { SimStorage } from './sim-storage.ts';

export interface ActParts {
  readonly world: SimWorld;
  readonly machine: SimMachine;
  readonly shape: SimShape;
  readonly storage: SimStorage;
  readonly server: SimServer;
  readonly oracle: DiskOracle;
  readonly phase: DiskPhase;
  readonly turmoil: Turmoil;
  /** Whether something failed on purpose. */
  readonly mayFail: () => boolean;
  readonly count: (kind: string) => void;
  /** Has the power fail a few events from now. */
  readonly cutSoon: () => void;
}

/** One act. */
export interface Acting {
  /** No other was under way since it began. */
  readonly alone: () => boolean;
  readonly over: () => void;
}

/** Acts under way. */
export class Turmoil {
  #active = 0;
  #started = 0;
  readonly #exclusive = new Set<string>();

  begin(): Acting {
    const first = this.#active === 0;
    const number = ++this.#started;
    this.#active += 1;
    return {
      alone: () => first && number === this.#started,
      over: () => (this.#active -= 1),
    };
  }

  /** Runs `body` unless another of the same `name` is under way, which the oracle could not tell apart. */
  async once(name: string, body: () => Promise<void>): Promise<void> {
    if (this.#exclusive.has(name)) return;
    this.#exclusive.add(name);
    try {
      await body();
    } finally {
      this.#exclusive.delete(name);
    }
  }
}

/** Runs `body` while neither storage nor server fails. */
export async function calmly<T>(parts: ActParts, body: () => Promise<T>): Promise<T> {
  const { storage, server } = parts;
  storage.calm += 1;
  server.calm += 1;
  try {
    return await body();
  } finally {
    storage.calm -= 1;
    server.calm -= 1;
  }
}
