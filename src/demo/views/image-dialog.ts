// "Open an image": a file, copied into this browser or read where it is; a URL; or a new, empty disk.
// What is chosen becomes the page's selection, and boots.

import type { Choice, Selection } from '../boot/selection.ts';
import { element, setText } from '../elements.ts';
import { describe } from '../explain-error.ts';
import { createBlank, importImage } from '../files/import-image.ts';
import { formatProgress } from '../format-units.ts';
import type { Progress } from '../../index.ts';

type Kind = 'file' | 'url' | 'blank';

const MIB = 1024 * 1024;

export interface ImageDialogOptions {
  readonly selection: Selection;
  /** Ends what runs; answers whether it did. */
  readonly leave: () => Promise<boolean>;
  /** An image can be chosen from now on. */
  readonly remember: (image: string, guest: 'auto' | 'linux') => void;
  /** Boots another selection. */
  readonly boot: (choice: Choice) => void;
}

export class ImageDialog {
  readonly #options: ImageDialogOptions;
  readonly #dialog: HTMLDialogElement = element('image', HTMLDialogElement);
  readonly #form: HTMLFormElement = element('image-form', HTMLFormElement);
  readonly #file: HTMLInputElement = element('image-file', HTMLInputElement);
  readonly #boot: HTMLButtonElement = element('image-boot', HTMLButtonElement);
  readonly #words: HTMLElement = element('image-words', HTMLElement);
  #copying: AbortController | undefined;
  #hasLinux = false;
  /** A file that was dropped, which the input cannot hold in every browser. */
  #dropped: File | undefined;

  constructor(options: ImageDialogOptions) {
    this.#options = options;
    element('image-cancel', HTMLButtonElement).addEventListener('click', () =>
      this.#dialog.close(),
    );
    this.#dialog.addEventListener('close', () => this.#copying?.abort());
    this.#form.addEventListener('change', (event) => {
      if ((event.target as HTMLInputElement).name === 'image-kind') this.#suggestStart();
      this.#update();
    });
    this.#file.addEventListener('change', () => (this.#dropped = undefined));
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#takeDrops();
  }

  /** Linux is there, and can start beside an image. */
  setHasLinux(has: boolean): void {
    this.#hasLinux = has;
    element('image-start', HTMLElement).hidden = !has;
  }

  open(kind: Kind = 'file'): void {
    this.#say(undefined);
    this.#pick('image-kind', kind);
    this.#suggestStart();
    this.#update();
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** A file dropped anywhere on the page is the file of the dialog. */
  #takeDrops(): void {
    const hasFiles = (event: DragEvent): boolean =>
      event.dataTransfer?.types.includes('Files') === true;
    addEventListener('dragover', (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      document.body.dataset['dragging'] = 'true';
    });
    addEventListener('dragleave', (event) => {
      // Into an element of the page is not out of the page.
      if (event.relatedTarget === null) delete document.body.dataset['dragging'];
    });
    addEventListener('drop', (event) => {
      delete document.body.dataset['dragging'];
      const file = event.dataTransfer?.files[0];
      if (file === undefined) return;
      event.preventDefault();
      if (this.#copying !== undefined) return;
      this.#dropped = file;
      this.open('file');
    });
  }

  #picked(name: string): string {
    const picked = this.#form.querySelector<HTMLInputElement>(`input[name=${name}]:checked`);
    return picked?.value ?? '';
  }

  #pick(name: string, value: string): void {
    for (const input of this.#form.querySelectorAll<HTMLInputElement>(`input[name=${name}]`)) {
      input.checked = input.value === value;
    }
  }

  /** An empty disk does not start by itself. */
  #suggestStart(): void {
    this.#pick('image-starts', this.#picked('image-kind') === 'blank' ? 'linux' : 'bios');
  }

  #update(): void {
    const kind = this.#picked('image-kind');
    for (const part of this.#form.querySelectorAll<HTMLFieldSetElement>('fieldset[data-kind]')) {
      part.hidden = part.dataset['kind'] !== kind;
      // What is not seen must not be wanting.
      part.disabled = part.hidden;
    }
    const dropped = element('image-dropped', HTMLElement);
    dropped.hidden = this.#dropped === undefined;
    setText(dropped, this.#dropped === undefined ? '' : `Dropped: ${this.#dropped.name}`);
    setText(this.#boot, kind === 'blank' ? 'Make and boot it' : 'Boot it');
  }

  async #submit(): Promise<void> {
    if (this.#copying !== undefined) return;
    const copying = new AbortController();
    this.#copying = copying;
    this.#boot.disabled = true;
    try {
      const image = await this.#image(copying.signal);
      if (image === undefined) return;
      const linux = this.#hasLinux && this.#picked('image-starts') === 'linux';
      const guest = linux ? 'linux' : 'auto';
      // It is there now, whether or not it boots at once.
      this.#options.remember(image, guest);
      if (!(await this.#options.leave())) return;
      this.#dropped = undefined;
      this.#form.reset();
      this.#copying = undefined;
      this.#dialog.close();
      // Who says "boot it" wants that, whatever the page did at first.
      this.#options.boot({ image, guest, autostart: undefined });
    } catch (error) {
      this.#say(copying.signal.aborted ? undefined : describe(error));
    } finally {
      this.#boot.disabled = false;
      this.#copying = undefined;
    }
  }

  /** The `image` parameter of what the form says; undefined where that is not enough. */
  async #image(signal: AbortSignal): Promise<string | undefined> {
    const { store } = this.#options.selection.parameters;
    switch (this.#picked('image-kind') as Kind) {
      case 'url': {
        const url = element('image-url', HTMLInputElement).value.trim();
        if (url === '') this.#say('Give a URL');
        return url === '' ? undefined : url;
      }
      case 'blank': {
        const name = element('blank-name', HTMLInputElement).value.trim();
        const size = element('blank-size', HTMLInputElement).valueAsNumber;
        const unit = Number(element('blank-unit', HTMLSelectElement).value);
        return createBlank(name === '' ? 'disk' : name, size * unit * MIB, store, signal);
      }
      case 'file': {
        const file = this.#dropped ?? this.#file.files?.[0];
        if (file === undefined) {
          this.#say('Choose a file, or drop one on the page');
          return undefined;
        }
        if (this.#picked('image-how') === 'place')
          return this.#options.selection.addLocalFile(file);
        const onProgress = (progress: Progress): void =>
          this.#say(`Copied ${formatProgress(progress)}`, progress.done / file.size);
        onProgress({ done: 0, total: file.size });
        // A copy is for keeping.
        return importImage(file, store === 'memory' ? 'opfs' : store, { onProgress, signal });
      }
    }
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
