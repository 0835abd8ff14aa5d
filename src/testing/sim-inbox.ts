// What the host and other threads have for a simulated thread. It hears of it between the turns of its
// loop; while it is deaf - in `Atomics.wait`, or inside a callback - what comes waits in its order.

import type { SimContext } from './sim-context.ts';
import { TURN, draw } from './sim-latency.ts';
import type { Latency } from './sim-latency.ts';
import type { SimWorld } from './sim-world.ts';

interface Item {
  readonly kind: 'host' | 'message';
  readonly label: string;
  readonly run: () => void;
}

export interface SimInboxParts {
  readonly world: SimWorld;
  readonly context: SimContext;
  /** True while the thread hears nothing. */
  readonly deaf: () => boolean;
  /** A message came for a thread that is deaf: wakes it, as the doorbell does. */
  readonly ring: () => void;
}

export class SimInbox {
  readonly #parts: SimInboxParts;
  readonly #waiting: Item[] = [];
  /** The first of those waiting is on its way. */
  #hearing = false;
  #closed = false;
  /** When the last message of each sender arrives: they keep their order. */
  readonly #lastMessage = new Map<SimContext | null, number>();

  constructor(parts: SimInboxParts) {
    this.#parts = parts;
  }

  /** The host calls back after `latency`. Answers what cancels it. */
  host(label: string, latency: Latency | number, callback: () => void): () => void {
    const { world, context } = this.#parts;
    let wanted = true;
    const run = (): void => {
      if (wanted) callback();
    };
    const receive = (): void => this.#receive({ kind: 'host', label, run });
    const event = world.schedule(context, 'host', label, draw(latency, world.prng), receive);
    return () => {
      wanted = false;
      world.cancel(event);
    };
  }

  /** The present thread posts a message. */
  message(label: string, latency: Latency | number, run: () => void): void {
    const { world, context } = this.#parts;
    const now = world.now();
    const last = this.#lastMessage.get(world.current) ?? now;
    const at = Math.max(now + draw(latency, world.prng), last + 1);
    this.#lastMessage.set(world.current, at);
    const receive = (): void => this.#receive({ kind: 'message', label, run });
    world.schedule(context, 'message', label, at - now, receive);
  }

  /** Messages wait: the loop must not block. */
  get hasMessages(): boolean {
    return this.#waiting.some(({ kind }) => kind === 'message');
  }

  /** Labels of what waits. */
  get waiting(): readonly string[] {
    return this.#waiting.map(({ label }) => label);
  }

  /** The thread hears again: what waits happens from now on, one after another. */
  hear(): void {
    const { world, context, deaf } = this.#parts;
    const first = this.#waiting[0];
    if (first === undefined || this.#hearing) return;
    this.#hearing = true;
    world.schedule(context, first.kind, first.label, draw(TURN, world.prng), () => {
      this.#hearing = false;
      if (deaf()) return;
      this.#waiting.shift()?.run();
      this.hear();
    });
  }

  /** The thread is gone: nothing arrives any more. */
  close(): void {
    this.#closed = true;
    this.#waiting.length = 0;
  }

  #receive(item: Item): void {
    if (this.#closed) return;
    if (!this.#parts.deaf() && this.#waiting.length === 0) return item.run();
    this.#waiting.push(item);
    if (item.kind === 'message') this.#parts.ring();
  }
}
