// Drain (bdrv_drained_begin): a node comes to rest when those above it make no new requests and
// those under way are over. So parents are told first, up to the backends, and then one waits for
// every request in flight on the way, whatever its level.

import { CoQueue } from '../aio/co-queue.ts';
import { assert } from '../base/assert.ts';
import type { BlockChild } from './block-child.ts';

/** Who holds an edge to a node: another node, or a backend. */
export interface BlockParent {
  /** For people: `node 'x'`, `backend 'y'`. */
  readonly label: string;
  /** Stop making requests; counted, so calls nest. Those under way may still reach the child. */
  parentDrainedBegin(): void;
  parentDrainedEnd(): void;
  /** Resolves when requests under way here or above are over; undefined when there are none. */
  idle(): Promise<void> | undefined;
  /** The child's length is another now. */
  childResized(): void;
}

export class Quiescence {
  /** Requests under way. */
  inFlight = 0;
  /** By edge. */
  readonly parents: Map<BlockChild, BlockParent> = new Map<BlockChild, BlockParent>();
  #count = 0;
  readonly #idle = new CoQueue();
  readonly #onBegin: () => void;
  readonly #onEnd: () => void;

  /** `onBegin` and `onEnd` run when the first drain begins and the last one ends. */
  constructor(onBegin: () => void, onEnd: () => void) {
    this.#onBegin = onBegin;
    this.#onEnd = onEnd;
  }

  /** How many drained sections are open. */
  get count(): number {
    return this.#count;
  }

  enter(): void {
    this.inFlight += 1;
  }

  leave(): void {
    this.inFlight -= 1;
    if (this.inFlight === 0) this.#idle.all();
  }

  begin(): void {
    this.#count += 1;
    if (this.#count > 1) return;
    for (const parent of this.parents.values()) parent.parentDrainedBegin();
    this.#onBegin();
  }

  end(): void {
    assert(this.#count > 0, 'drained section ended twice');
    this.#count -= 1;
    if (this.#count > 0) return;
    this.#onEnd();
    for (const parent of this.parents.values()) parent.parentDrainedEnd();
  }

  /** See `BlockParent.idle`. */
  idle(): Promise<void> | undefined {
    if (this.inFlight > 0) return this.#idle.wait();
    for (const parent of this.parents.values()) {
      const idle = parent.idle();
      if (idle !== undefined) return idle;
    }
    return undefined;
  }

  /** Resolves when nothing is under way. In a drained section it then stays so. */
  async settle(): Promise<void> {
    for (let idle = this.idle(); idle !== undefined; idle = this.idle()) await idle;
    assert(this.inFlight === 0, 'a drained node is idle');
  }

  /** Adds a parent; drained at once where this node is. The edge may change hands. */
  attach(edge: BlockChild, parent: BlockParent): void {
    if (this.#count > 0) parent.parentDrainedBegin();
    this.detach(edge);
    this.parents.set(edge, parent);
  }

  detach(edge: BlockChild): void {
    const parent = this.parents.get(edge);
    if (parent === undefined) return;
    this.parents.delete(edge);
    if (this.#count > 0) parent.parentDrainedEnd();
  }
}
