// What the page is asked to boot: the parameters in its URL, changed by its forms and kept in the URL,
// so that a link or a bookmark means the same.

import { EmbeddedSource } from '../embedded-guest/embedded-source.ts';
import { imagePlace, parsePageParameters, withParameters } from '../page-parameters.ts';
import type { PageParameters } from '../page-parameters.ts';
import type { BootSource } from './boot-plan.ts';
import { DefaultSource } from './default-source.ts';
import { GuestSource } from './guest-source.ts';
import { LocalFileSource, RemoteImageSource, StoredImageSource } from './image-sources.ts';
import { LinuxFiles } from './linux-files.ts';
import { WithLinux } from './with-linux.ts';

/** The parameters that forms change; undefined takes one away. */
export type Choice = Readonly<
  Partial<
    Record<'guest' | 'store' | 'transport' | 'image' | 'disk' | 'autostart', string | undefined>
  >
>;

export class Selection {
  readonly #linux: LinuxFiles;
  readonly #localFiles = new Map<string, File>();
  readonly #listeners: (() => void)[] = [];
  #parameters: PageParameters = parsePageParameters(location.search);

  /** Whether memory can be shared with workers here; else data go in messages. */
  readonly sharable: boolean = typeof SharedArrayBuffer !== 'undefined';

  /** `base`: URL of the page's folder, with a slash at its end. */
  constructor(base: string) {
    this.#linux = new LinuxFiles(`${base}guest/`);
  }

  get parameters(): PageParameters {
    return this.#parameters;
  }
  /** Whether an image of the user's own is to be booted. */
  get ownImage(): boolean {
    return this.#parameters.image !== undefined;
  }
  /** The machine shows itself on its VGA screen, not on its serial line. */
  get onScreen(): boolean {
    return this.ownImage && this.#parameters.guest !== 'linux';
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** The query part of a URL that means this page with `choice`. */
  search(choice: Choice): string {
    return withParameters(location.search, choice);
  }

  /** Changes the selection, and the page's URL with it. */
  change(choice: Choice): void {
    history.pushState(null, '', `${location.pathname}${this.search(choice)}`);
    this.reload();
  }

  /** Reads the URL again: it changed. */
  reload(): void {
    this.#parameters = parsePageParameters(location.search);
    for (const listener of this.#listeners) listener();
  }

  /** Keeps a file that the user gave for as long as the page lives; answers its `image` parameter. */
  addLocalFile(file: File): string {
    this.#localFiles.set(file.name, file);
    return `file:${file.name}`;
  }

  /** What boots now. */
  source(): BootSource {
    const { disk, guest, store } = this.#parameters;
    const image = this.#imageSource();
    if (image !== undefined) return guest === 'linux' ? new WithLinux(image, this.#linux) : image;
    const embedded = new EmbeddedSource(disk, store);
    if (guest === 'embedded') return embedded;
    const linux = new GuestSource(this.#parameters, this.#linux, store);
    return guest === 'linux' ? linux : new DefaultSource(linux, embedded);
  }

  #imageSource(): BootSource | undefined {
    const { store } = this.#parameters;
    const place = imagePlace(this.#parameters);
    if (place === undefined) return undefined;
    if (place.kind === 'stored') return new StoredImageSource(place.store, place.name);
    if (place.kind === 'url') return new RemoteImageSource(place.url, store);
    return new LocalFileSource(place.name, this.#localFiles.get(place.name), store);
  }

  /** Whether this page can boot the Linux guest. Throws BlockError where nobody can tell. */
  hasLinux(signal: AbortSignal): Promise<boolean> {
    return this.#linux.exists(signal);
  }
}
