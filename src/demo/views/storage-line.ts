// How much of this browser's storage the page uses, and whether the browser may clear it by itself; a
// button asks it not to.

import { persistStorage, queryStorage } from '../../index.ts';
import { element, setText } from '../elements.ts';
import { formatBytes } from '../format-units.ts';
import type { LogLevel } from '../workbench.ts';

export class StorageLine {
  readonly #words: HTMLElement = element('storage-words', HTMLElement);
  readonly #keep: HTMLButtonElement = element('persist', HTMLButtonElement);
  readonly #log: (level: LogLevel, words: string) => void;

  constructor(log: (level: LogLevel, words: string) => void) {
    this.#log = log;
    this.#keep.addEventListener('click', () => void this.#persist());
  }

  /** Looks anew. */
  async update(): Promise<void> {
    const { persisted, usage, quota } = await queryStorage();
    const used =
      usage === undefined ? 'Nobody knows how much is used' : `${formatBytes(usage)} used`;
    const room = quota === undefined ? '' : ` of the ${formatBytes(quota)} that this page may`;
    const kept =
      persisted === undefined
        ? ''
        : persisted
          ? ' The browser keeps it until you clear it.'
          : ' The browser may clear it when space is short.';
    setText(this.#words, `${used}${room}.${kept}`);
    this.#keep.hidden = persisted !== false;
  }

  async #persist(): Promise<void> {
    if (await persistStorage()) this.#log('good', 'The browser keeps this page’s storage');
    else {
      this.#log(
        'warning',
        'The browser did not agree to keep it: it goes by use, bookmarks or installation',
      );
    }
    await this.update();
  }
}
