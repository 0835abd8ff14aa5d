// What tells one history from another: a hash over all that happened, in its order.

import type { SimRecord } from '../testing/sim-trace.ts';

/** FNV-1a over everything that happened. */
export class SimHistory {
  hash = 0x811c9dc5;
  readonly add: (record: SimRecord) => void;

  constructor(next: (record: SimRecord) => void) {
    this.add = (record): void => {
      this.#text(record.thread);
      this.#text(record.label);
      this.#word(record.at);
      next(record);
    };
  }

  #text(text: string): void {
    for (let i = 0; i < text.length; i++) this.#word(text.charCodeAt(i));
  }
  #word(word: number): void {
    this.hash = Math.imul(this.hash ^ (word | 0), 0x01000193) >>> 0;
  }
}
