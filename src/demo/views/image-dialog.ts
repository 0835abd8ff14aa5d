// "Open an image": a URL, or a file that is copied into the browser's storage with progress. The
// page is then loaded anew with `?image=`, which is also what a bookmark of it means.

import { describe } from '../explain-error.ts';
import { element, setText } from '../elements.ts';
import { formatBytes } from '../format-units.ts';
import { importImage } from '../boot/own-image-source.ts';
import { withParameter } from '../page-parameters.ts';

export class ImageDialog {
  readonly #dialog: HTMLDialogElement = element('image', HTMLDialogElement);
  readonly #url: HTMLInputElement = element('image-url', HTMLInputElement);
  readonly #file: HTMLInputElement = element('image-file', HTMLInputElement);
  readonly #boot: HTMLButtonElement = this.#dialog.querySelector('button[type=submit]')!;
  readonly #words: HTMLElement = element('image-words', HTMLElement);
  readonly #leave: () => Promise<void>;
  #copying: AbortController | undefined;

  /** `leave` gives back what the running machine holds, before the page is loaded anew. */
  constructor(ownImage: boolean, leave: () => Promise<void>) {
    this.#leave = leave;
    const back = element('image-guest', HTMLButtonElement);
    back.hidden = !ownImage;
    back.addEventListener('click', () => void this.openGuest());
    element('image-cancel', HTMLButtonElement).addEventListener('click', () =>
      this.#dialog.close(),
    );
    this.#dialog.addEventListener('close', () => this.#copying?.abort());
    element('image-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#submit();
    });
  }

  open(): void {
    this.#say(undefined);
    this.#dialog.showModal();
  }

  /** Loads the page with a guest of ours. */
  async openGuest(): Promise<void> {
    await this.#go(undefined);
  }

  async #submit(): Promise<void> {
    const file = this.#file.files?.[0];
    const url = this.#url.value.trim();
    if (file === undefined && url === '') return this.#say('Give a URL or choose a file');
    const copying = new AbortController();
    this.#copying = copying;
    this.#boot.disabled = true;
    try {
      if (file === undefined) return await this.#go(url);
      const onProgress = (done: number, total: number): void =>
        this.#say(`Copied ${formatBytes(done)} of ${formatBytes(total)}`, done / total);
      onProgress(0, file.size);
      // A machine that runs from the same file must let go of it first.
      await this.#leave();
      await this.#go(await importImage(file, onProgress, copying.signal));
    } catch (error) {
      this.#say(copying.signal.aborted ? undefined : describe(error));
    } finally {
      this.#boot.disabled = false;
      this.#copying = undefined;
    }
  }

  async #go(image: string | undefined): Promise<void> {
    await this.#leave();
    // Who says "boot it" wants that, whatever the page did at first.
    const search = withParameter(location.search, 'autostart', undefined);
    location.search = withParameter(search, 'image', image);
  }

  #say(words: string | undefined, progress?: number): void {
    const line = this.#words.parentElement!;
    const bar = element('image-progress', HTMLProgressElement);
    line.hidden = words === undefined;
    setText(this.#words, words ?? '');
    bar.hidden = progress === undefined;
    if (progress !== undefined) bar.value = progress;
  }
}
