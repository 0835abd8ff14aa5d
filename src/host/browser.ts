// The browser as a Host, for pages and workers alike; `browser-page.ts` adds what only pages do.

import type { Host } from './host.ts';

/** One turn of the event loop through a MessageChannel: quick, where timers are clamped to 4 ms. */
class TurnChannel {
  readonly #channel = new MessageChannel();
  readonly #waiting: (() => void)[] = [];

  constructor() {
    this.#channel.port1.onmessage = (): void => this.#waiting.shift()?.();
  }
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#channel.port2.postMessage(null);
    });
  }
}

/** Name of the Web Lock that a worker holds for as long as it lives. */
export const lifeLock = (life: string): string => `diskplane:alive:${life}`;

export class BrowserHost implements Host {
  readonly name = 'browser';
  #turns: TurnChannel | undefined;

  now(): number {
    return performance.now() * 1e6;
  }
  random(): number {
    return Math.random();
  }
  setTimer(callback: () => void, ms: number): () => void {
    const id = setTimeout(callback, Math.min(ms, 2 ** 31 - 1));
    return () => clearTimeout(id);
  }
  turn(): Promise<void> {
    this.#turns ??= new TurnChannel();
    return this.#turns.turn();
  }

  // A worker that is terminated from outside, or dies for want of memory, tells nobody. So it holds
  // a Web Lock for as long as it lives, and the page waits for that lock.
  holdLife(life: string): Promise<void> {
    const { locks } = navigator;
    if (locks === undefined) return Promise.resolve();
    return new Promise((held) => {
      void locks.request(lifeLock(life), () => {
        held();
        return new Promise<never>(() => {});
      });
    });
  }
}
