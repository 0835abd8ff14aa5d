// The buttons: what they ask before they do it, and when they may be pressed.

import { element, setText } from '../elements.ts';
import type { Selection } from '../boot/selection.ts';
import type { DownloadKind } from '../files/downloads.ts';
import type { PageState } from '../page-state.ts';
import type { LogLevel, Workbench } from '../workbench.ts';
import { ask } from './ask-dialog.ts';

export interface ControlsOptions {
  readonly state: PageState;
  readonly selection: Selection;
  readonly workbench: Workbench;
  readonly log: (level: LogLevel, words: string) => void;
  readonly download: (kind: DownloadKind) => void;
  readonly openImage: () => void;
  readonly saveState: () => void;
  readonly openStates: () => void;
  readonly focusConsole: () => void;
  /** The selected image is deleted: boots something else. */
  readonly leaveImage: () => void;
}

const button = (id: string): HTMLButtonElement => element(id, HTMLButtonElement);

export class Controls {
  readonly #options: ControlsOptions;
  readonly #start: HTMLButtonElement = button('start');
  readonly #shutDown: HTMLButtonElement = button('shutdown');
  readonly #reset: HTMLButtonElement = button('reset');
  readonly #cancel: HTMLButtonElement = button('cancel');
  readonly #saveState: HTMLButtonElement = button('save-state');
  readonly #downloads: Readonly<Record<DownloadKind, HTMLButtonElement>> = {
    file: button('download'),
    raw: button('download-raw'),
    qcow2: button('download-qcow2'),
  };

  constructor(options: ControlsOptions) {
    this.#options = options;
    this.#start.addEventListener('click', () => void this.start());
    this.#shutDown.addEventListener('click', () => void this.shutDown());
    this.#reset.addEventListener('click', () => void this.reset());
    this.#cancel.addEventListener('click', () => options.state.cancel?.());
    for (const kind of ['file', 'raw', 'qcow2'] as const) {
      this.#downloads[kind].addEventListener('click', () => options.download(kind));
    }
    this.#saveState.addEventListener('click', () => options.saveState());
    button('open-image').addEventListener('click', () => options.openImage());
    button('open-states').addEventListener('click', () => options.openStates());
    options.state.onChange(() => this.#update());
    options.selection.onChange(() => this.#update());
  }

  async start(): Promise<void> {
    this.#options.focusConsole();
    await this.#options.workbench.start();
  }

  /** Answers whether the machine is off now. */
  async shutDown(): Promise<boolean> {
    const { workbench } = this.#options;
    if (await workbench.shutDown()) return true;
    return this.#cutPower(
      'Cut the power?',
      'The guest takes no commands now. Cutting the power keeps what the guest has synced, and ' +
        'loses the rest.',
    );
  }

  /** Ends what runs, so that something else can boot; answers whether it did. */
  async leave(): Promise<boolean> {
    const { workbench } = this.#options;
    if (this.#isBusy()) return false;
    if (workbench.session === undefined) {
      await workbench.cutPower();
      return true;
    }
    if (await workbench.shutDown()) return true;
    return this.#cutPower(
      'Cut the power of the machine that runs?',
      'Its guest takes no commands now. What it has synced is kept, the rest is lost.',
    );
  }

  /** Ends what runs at once, since a saved state takes its place; answers whether it did. */
  async leaveForState(): Promise<boolean> {
    const { workbench } = this.#options;
    if (this.#isBusy()) return false;
    if (workbench.session !== undefined) {
      return this.#cutPower(
        'Go back to the saved state?',
        'The machine that runs now is switched off. What it has not synced is lost.',
      );
    }
    await workbench.cutPower();
    return true;
  }

  /** Tells the user why nothing happens. */
  #isBusy(): boolean {
    const { state, log } = this.#options;
    if (state.busy === undefined) return false;
    log('warning', `Not now: ${state.busy}`);
    return true;
  }

  async #cutPower(title: string, words: string): Promise<boolean> {
    const yes = await ask(title, words, 'Cut the power');
    if (yes) await this.#options.workbench.cutPower();
    return yes;
  }

  async reset(): Promise<void> {
    const { workbench, selection } = this.#options;
    if (this.#imageItself()) {
      const yes = await ask(
        `Delete ${selection.source().title}?`,
        'The image is deleted from this browser for good. A file that it was copied from stays.',
        'Delete it',
      );
      if (yes && (await workbench.deleteImage())) this.#options.leaveImage();
      return;
    }
    const yes = await ask(
      'Reset the disk?',
      'Everything that the guest has written, in this visit and in earlier ones, is deleted for ' +
        'good. The guest then boots from the image as it was in the beginning.',
      'Delete and boot again',
    );
    if (yes) await workbench.reset();
  }

  /** The image is written where it is: there is no overlay to throw away. */
  #imageItself(): boolean {
    return /^(opfs|idb|memory):/.test(this.#options.selection.parameters.image ?? '');
  }

  #update(): void {
    const { phase, busy, cancel } = this.#options.state;
    const on = phase === 'booting' || phase === 'running';
    const free = busy === undefined;
    this.#start.hidden = !(phase === 'off' || phase === 'error');
    this.#shutDown.hidden = !this.#start.hidden;
    this.#start.disabled = !free;
    this.#shutDown.disabled = !(free && (on || phase === 'loading'));
    this.#reset.disabled = !(free && phase !== 'loading');
    this.#saveState.disabled = !(free && phase === 'running');
    this.#cancel.hidden = cancel === undefined;
    const imageItself = this.#imageItself();
    setText(this.#reset, imageItself ? 'Delete image…' : 'Reset disk…');
    setText(this.#downloads.file, imageItself ? 'Image file' : 'Overlay');
    const there = on || (phase === 'off' && this.#options.workbench.plan !== undefined);
    for (const download of Object.values(this.#downloads)) download.disabled = !(free && there);
  }
}
