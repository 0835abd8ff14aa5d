// What happened, in plain words, newest last. Times count from the page's start.

import { make, setText } from '../elements.ts';
import { nowSeconds } from '../page-clock.ts';
import type { LogLevel } from '../workbench.ts';

/** Lines that are kept. */
const KEPT = 200;
/** Within this many pixels of the end, a new line scrolls into view. */
const NEAR_END = 24;

export class EventLog {
  readonly #list: HTMLElement;
  /** What scrolls. */
  readonly #box: HTMLElement;
  readonly #news: HTMLElement;
  readonly #start: number = nowSeconds();
  #last: { words: string; item: HTMLElement; times: number } | undefined;

  /** `news`: a live region. All that goes on would be too much to listen to. */
  constructor(list: HTMLElement, news: HTMLElement) {
    this.#list = list;
    this.#box = list.parentElement!;
    this.#news = news;
  }

  /** Adds a line; one that repeats the last is counted instead. */
  add(level: LogLevel, words: string): void {
    const list = this.#list;
    const box = this.#box;
    if (this.#last?.words === words) {
      this.#last.times += 1;
      this.#last.item.dataset['times'] = `× ${this.#last.times}`;
      return;
    }
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
    const item = make('li');
    item.dataset['level'] = level;
    item.append(
      make('time', '', `${(nowSeconds() - this.#start).toFixed(1)} s`),
      make('span', '', words),
    );
    list.append(item);
    if (level !== 'info') setText(this.#news, words);
    this.#last = { words, item: item.lastElementChild as HTMLElement, times: 1 };
    while (list.childElementCount > KEPT) list.firstElementChild!.remove();
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
}
