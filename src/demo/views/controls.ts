// The buttons: what they ask before they do it, and when they may be pressed.

import { ask } from './ask-dialog.ts';
import { element } from '../elements.ts';
import type { PageState } from '../page-state.ts';
import type { Workbench } from '../workbench.ts';

export interface ControlsOptions {
  readonly state: PageState;
  readonly workbench: Workbench;
  readonly openImage: () => void;
  readonly focusConsole: () => void;
  /** The disk is an overlay; a reset throws away what was written and nothing else. */
  readonly resettable: boolean;
}

export class Controls {
  readonly #options: ControlsOptions;
  readonly #start: HTMLButtonElement = element('start', HTMLButtonElement);
  readonly #shutDown: HTMLButtonElement = element('shutdown', HTMLButtonElement);
  readonly #reset: HTMLButtonElement = element('reset', HTMLButtonElement);
  readonly #download: HTMLButtonElement = element('download', HTMLButtonElement);

  constructor(options: ControlsOptions) {
    this.#options = options;
    this.#start.addEventListener('click', () => void this.start());
    this.#shutDown.addEventListener('click', () => void this.shutDown());
    this.#reset.addEventListener('click', () => void this.reset());
    this.#download.addEventListener('click', () => {
      void options.workbench.download(new AbortController().signal);
    });
    element('open-image', HTMLButtonElement).addEventListener('click', () => options.openImage());
    this.#reset.hidden = !options.resettable;
    if (!options.resettable) this.#download.textContent = 'Download image';
    options.state.onChange(() => this.#update());
  }

  async start(): Promise<void> {
    this.#options.focusConsole();
    await this.#options.workbench.start();
  }

  async shutDown(): Promise<void> {
    const { workbench } = this.#options;
    if (await workbench.shutDown()) return;
    const yes = await ask(
      'Cut the power?',
      'The guest takes no commands now. Cutting the power keeps what the guest has synced, and ' +
        'loses the rest.',
      'Cut the power',
    );
    if (yes) await workbench.cutPower();
  }

  async reset(): Promise<void> {
    const yes = await ask(
      'Reset the disk?',
      'Everything that the guest has written, in this visit and in earlier ones, is deleted for ' +
        'good. The guest then boots from the image as it was in the beginning.',
      'Delete and boot again',
    );
    if (yes) await this.#options.workbench.reset();
  }

  #update(): void {
    const { phase, busy } = this.#options.state;
    const on = phase === 'booting' || phase === 'running';
    const free = busy === undefined;
    this.#start.hidden = !(phase === 'off' || phase === 'error');
    this.#shutDown.hidden = !this.#start.hidden;
    this.#start.disabled = !free;
    this.#shutDown.disabled = !(free && (on || phase === 'loading'));
    this.#reset.disabled = !(free && phase !== 'loading');
    const off = phase === 'off' && this.#options.workbench.savable;
    this.#download.disabled = !(free && (on || off));
  }
}
