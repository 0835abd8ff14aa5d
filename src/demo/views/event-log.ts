// What happened, in plain words, newest last. Times count from the page's start.

import { make } from '../elements.ts';
import { nowSeconds } from '../page-clock.ts';
import type { LogLevel } from '../workbench.ts';

/** Lines that are kept. */
const KEPT = 200;
/** Within this many pixels of the end, a new line scrolls into view. */
const NEAR_END = 24;

export class EventLog {
  readonly #list: HTMLElement;
  readonly #start: number = nowSeconds();
  #last: { words: string; item: HTMLElement; times: number } | undefined;

  constructor(list: HTMLElement) {
    this.#list = list;
  }

  /** Adds a line; one that repeats the last is counted instead. */
  add(level: LogLevel, words: string): void {
    const list = this.#list;
    if (this.#last?.words === words) {
      this.#last.times += 1;
      this.#last.item.dataset['times'] = `× ${this.#last.times}`;
      return;
    }
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END;
    const item = make('li');
    item.dataset['level'] = level;
    item.append(
      make('time', '', `${(nowSeconds() - this.#start).toFixed(1)} s`),
      make('span', '', words),
    );
    list.append(item);
    this.#last = { words, item: item.lastElementChild as HTMLElement, times: 1 };
    while (list.childElementCount > KEPT) list.firstElementChild!.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }
}
