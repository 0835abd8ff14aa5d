// The form above the console: what boots, where writes go, how data travel. While a machine runs a
// change waits for "Boot with this"; otherwise it holds for the next start.

import { parseImagePlace } from '../boot/image-place.ts';
import type { OwnImages } from '../boot/own-images.ts';
import type { Choice, Selection } from '../boot/selection.ts';
import { element, make, setText } from '../elements.ts';
import type { PageState } from '../page-state.ts';

export interface SetupFormOptions {
  readonly state: PageState;
  readonly selection: Selection;
  readonly ownImages: OwnImages;
  /** Ends what runs, then boots what the form says. */
  readonly boot: (choice: Choice) => void;
}

const HINTS: Readonly<Record<string, string>> = {
  memory: 'What is written to memory is gone when this page closes.',
};

export class SetupForm {
  readonly #options: SetupFormOptions;
  readonly #what: HTMLSelectElement = element('setup-what', HTMLSelectElement);
  readonly #store: HTMLSelectElement = element('setup-store', HTMLSelectElement);
  readonly #transport: HTMLSelectElement = element('setup-transport', HTMLSelectElement);
  readonly #apply: HTMLButtonElement = element('setup-apply', HTMLButtonElement);
  readonly #hint: HTMLElement = element('setup-hint', HTMLElement);
  /** Whether this page can boot Linux; true until it is known. */
  #hasLinux = true;

  constructor(options: SetupFormOptions) {
    this.#options = options;
    const { state, selection } = options;
    element('setup', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      options.boot(this.#choice());
    });
    for (const select of [this.#what, this.#store, this.#transport]) {
      select.addEventListener('change', () => this.#changed());
    }
    selection.onChange(() => this.show());
    state.onChange(() => this.#update());
    this.show();
  }

  /** Linux was found to be there, or not. */
  setHasLinux(has: boolean): void {
    this.#hasLinux = has;
    this.show();
  }

  /** Shows what is selected. */
  show(): void {
    const { selection } = this.#options;
    const { parameters } = selection;
    this.#what.replaceChildren(...this.#guests(), ...this.#images());
    this.#what.value = whatOf(parameters, this.#hasLinux);
    this.#store.value = parameters.store;
    this.#transport.value = selection.sharable ? parameters.transport : 'auto';
    this.#transport.disabled = !selection.sharable;
    this.#update();
  }

  #guests(): HTMLElement[] {
    const linux = make(
      'option',
      '',
      this.#hasLinux ? 'Linux guest' : 'Linux guest (not built here)',
    );
    linux.value = 'linux';
    const embedded = make('option', '', 'Embedded guest');
    embedded.value = 'embedded';
    return [linux, embedded];
  }

  #images(): HTMLElement[] {
    const { parameters } = this.#options.selection;
    const list = [...this.#options.ownImages.list()];
    const { image, guest } = parameters;
    if (image !== undefined && !list.some((known) => known.image === image)) {
      const started = guest === 'linux' ? 'linux' : 'auto';
      list.unshift({ image, guest: started, title: image.split(/[/:]/).at(-1)! });
    }
    if (list.length === 0) return [];
    const group = make('optgroup');
    group.label = 'Your images';
    for (const { image: where, guest: started, title } of list) {
      const option = make('option', '', `${title}${placeWords(where)}`);
      option.value = `${started} ${where}`;
      group.append(option);
    }
    return [group];
  }

  #choice(): Choice {
    const { parameters, sharable } = this.#options.selection;
    const what = this.#what.value;
    const space = what.indexOf(' ');
    const unchanged = what === whatOf(parameters, this.#hasLinux);
    const transport = sharable ? this.#transport.value : parameters.transport;
    const chosen: Choice =
      space < 0
        ? { guest: unchanged ? parameters.guest : what, image: undefined }
        : { guest: what.slice(0, space), image: what.slice(space + 1) };
    return { ...chosen, store: this.#store.value, transport };
  }

  #changed(): void {
    const { phase } = this.#options.state;
    if (phase === 'off' || phase === 'error') this.#options.selection.change(this.#choice());
    else this.#update();
  }

  #update(): void {
    const { state, selection } = this.#options;
    const { guest, image, store, transport } = selection.parameters;
    const choice = this.#choice();
    const differs =
      choice.guest !== guest ||
      choice.image !== image ||
      choice.store !== store ||
      choice.transport !== transport;
    const on = state.phase !== 'off' && state.phase !== 'error';
    this.#apply.hidden = !(differs && on);
    this.#apply.disabled = state.busy !== undefined;
    // An image that is written where it is has no overlay.
    const place = choice.image === undefined ? undefined : parseImagePlace(choice.image);
    this.#store.disabled = place?.kind === 'stored';
    const hint = place?.kind === 'stored' ? 'The image itself is written.' : HINTS[choice.store!];
    this.#hint.hidden = hint === undefined;
    setText(this.#hint, hint ?? '');
  }
}

/** Value of the first select for what the parameters say. */
function whatOf(
  { guest, image }: { readonly guest: string; readonly image: string | undefined },
  hasLinux: boolean,
): string {
  if (image !== undefined) return `${guest === 'linux' ? 'linux' : 'auto'} ${image}`;
  if (guest === 'auto') return hasLinux ? 'linux' : 'embedded';
  return guest;
}

function placeWords(image: string): string {
  const place = parseImagePlace(image);
  if (place?.kind === 'url') return ` (${new URL(place.url).host})`;
  if (place?.kind === 'file') return ' (on this device)';
  return '';
}
