// The images of one's own that this browser has booted, so that they can be chosen again. A list of
// names; the images themselves are where their `?image=` says.

export interface OwnImage {
  /** As in `?image=`. */
  readonly image: string;
  /** `'linux'` where this project's Linux starts beside it. */
  readonly guest: 'auto' | 'linux';
  readonly title: string;
}

const KEY = 'diskplane:own-images';
const MOST = 12;

export class OwnImages {
  readonly #storage: Pick<Storage, 'getItem' | 'setItem'>;

  constructor(storage: Pick<Storage, 'getItem' | 'setItem'>) {
    this.#storage = storage;
  }

  /** The latest first. */
  list(): readonly OwnImage[] {
    try {
      const list: unknown = JSON.parse(this.#storage.getItem(KEY) ?? '[]');
      return Array.isArray(list) ? list.filter(isOwnImage) : [];
    } catch {
      return [];
    }
  }

  /** Puts an image at the top. */
  add(image: OwnImage): void {
    this.#store([image, ...this.#without(image.image)].slice(0, MOST));
  }

  remove(image: string): void {
    this.#store(this.#without(image));
  }

  #without(image: string): OwnImage[] {
    return this.list().filter((known) => known.image !== image);
  }

  #store(list: readonly OwnImage[]): void {
    this.#storage.setItem(KEY, JSON.stringify(list));
  }
}

function isOwnImage(value: unknown): value is OwnImage {
  if (typeof value !== 'object' || value === null) return false;
  const { image, guest, title } = value as Record<string, unknown>;
  const known = guest === 'auto' || guest === 'linux';
  return typeof image === 'string' && typeof title === 'string' && known;
}
