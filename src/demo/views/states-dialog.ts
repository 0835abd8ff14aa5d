// "Saved states": a list to go back to, to download or to delete; and a state from a file.

import { element, make, setText } from '../elements.ts';
import { describe } from '../explain-error.ts';
import { chooseSaveTarget } from '../files/save-file.ts';
import type { SavedState, SavedStates } from '../files/saved-states.ts';
import { readBundle } from '../files/state-bundle.ts';
import type { StateBundle } from '../files/state-bundle.ts';
import { formatBytes } from '../format-units.ts';
import type { LogLevel } from '../workbench.ts';
import { ask } from './ask-dialog.ts';

export interface StatesDialogOptions {
  readonly states: SavedStates;
  readonly log: (level: LogLevel, words: string) => void;
  /** Ends what runs, so that a state can be restored; answers whether it did. */
  readonly leave: () => Promise<boolean>;
}

export class StatesDialog {
  readonly #options: StatesDialogOptions;
  readonly #dialog: HTMLDialogElement = element('states', HTMLDialogElement);
  readonly #list: HTMLElement = element('states-list', HTMLElement);
  readonly #words: HTMLElement = element('states-words', HTMLElement);
  readonly #file: HTMLInputElement = element('states-file', HTMLInputElement);

  constructor(options: StatesDialogOptions) {
    this.#options = options;
    element('states-close', HTMLButtonElement).addEventListener('click', () =>
      this.#dialog.close(),
    );
    this.#file.addEventListener('change', () => void this.#openFile());
  }

  async open(): Promise<void> {
    setText(this.#words, '');
    this.#dialog.showModal();
    await this.#show();
  }

  async #show(): Promise<void> {
    try {
      const states = await this.#options.states.list();
      const rows = states.map((state) => this.#row(state));
      const none = make('li', 'words', 'None yet. “Save state” keeps the machine as it stands.');
      this.#list.replaceChildren(...(rows.length === 0 ? [none] : rows));
    } catch (error) {
      setText(this.#words, describe(error));
    }
  }

  #row(saved: SavedState): HTMLElement {
    const { title, savedAt } = saved.bundle.description;
    const when = new Date(savedAt).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
    const row = make('li');
    row.dataset['testid'] = 'saved-state';
    const words = make('p');
    words.append(
      make('b', '', title),
      make('span', 'words', ` ${when}, ${formatBytes(saved.bundle.bytes)}`),
    );
    const actions = make('div', 'actions');
    const add = (name: string, words: string, act: () => Promise<void>): void => {
      const button = make('button', '', words);
      button.type = 'button';
      button.dataset['testid'] = name;
      button.setAttribute('aria-label', `${words}: ${title}, ${when}`);
      button.addEventListener('click', () => void this.#try(act));
      actions.append(button);
    };
    add('state-restore', 'Go back to it', () => this.#restore(saved.bundle));
    add('state-download', 'Download', () => this.#download(saved));
    add('state-delete', 'Delete', () => this.#remove(saved));
    row.append(words, actions);
    return row;
  }

  async #try(act: () => Promise<void>): Promise<void> {
    try {
      setText(this.#words, '');
      await act();
    } catch (error) {
      setText(this.#words, describe(error));
    }
  }

  async #restore(bundle: StateBundle): Promise<void> {
    if (!(await this.#options.leave())) return;
    this.#dialog.close();
    await this.#options.states.restore(bundle);
  }

  async #download({ path, file }: SavedState): Promise<void> {
    const name = `diskplane-${path.split('/').at(-1)!}`;
    const target = await chooseSaveTarget(name);
    if (target === undefined) return;
    const reader = file.stream().getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        await target.write(value);
      }
      await target.finish();
    } catch (error) {
      await target.discard().catch(() => {});
      throw error;
    }
    this.#options.log('good', `Saved ${name}, ${formatBytes(file.size)}`);
  }

  async #remove(saved: SavedState): Promise<void> {
    const yes = await ask('Delete this state?', 'It is deleted for good.', 'Delete it');
    if (!yes) return;
    await this.#options.states.remove(saved);
    await this.#show();
  }

  async #openFile(): Promise<void> {
    const file = this.#file.files?.[0];
    if (file === undefined) return;
    await this.#try(async () => this.#restore(await readBundle(file, file.name)));
    this.#file.value = '';
  }
}
