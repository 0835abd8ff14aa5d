// What the page's URL may say: a link to the page is what it boots, from where and how. Wrong values
// are named, not guessed at.

import { parseImagePlace } from './boot/image-place.ts';
import type { ImagePlace } from './boot/image-place.ts';
import { STORE_KINDS } from './boot/store-kind.ts';
import type { StoreKind } from './boot/store-kind.ts';

/** `'auto'` is Linux where it was built, and the embedded guest elsewhere. */
export type GuestChoice = 'auto' | 'linux' | 'embedded';

/** How requests reach the IOThread; `'auto'` takes the best that the page may use. */
export type TransportChoice = 'auto' | 'zero-copy' | 'bounce' | 'messages';

export interface PageParameters {
  /** `?guest=linux|embedded`. With an image: `linux` starts this project's Linux beside it. */
  readonly guest: GuestChoice;
  /** `?store=opfs|idb|memory`: where writes go. */
  readonly store: StoreKind;
  /** `?transport=zero-copy|bounce|messages` */
  readonly transport: TransportChoice;
  /** `?delay=20`: the image server answers that much later, milliseconds. */
  readonly delayMs: number;
  /** `?disk=NAME`: name of the overlay, so that one origin can hold several. */
  readonly disk: string;
  /** `?autostart=0` waits for the Start button. */
  readonly autostart: boolean;
  /** `?cmdline=…`: more words for the guest's kernel. */
  readonly cmdline: string;
  /** `?image=https://…`, `opfs:PATH`, `idb:NAME` …: an image to boot in place of a guest of ours. */
  readonly image: string | undefined;
  /** In plain words, one for each value that was not understood. */
  readonly complaints: readonly string[];
}

export const DEFAULT_DISK = 'guest-overlay';
const DEFAULTS: Readonly<Record<string, string>> = {
  guest: 'auto',
  store: 'opfs',
  transport: 'auto',
  disk: DEFAULT_DISK,
};
const MAX_DELAY_MS = 10_000;

const GUESTS: readonly GuestChoice[] = ['auto', 'linux', 'embedded'];
const TRANSPORTS: readonly TransportChoice[] = ['auto', 'zero-copy', 'bounce', 'messages'];

/** Reads the part of a URL from the question mark on. */
export function parsePageParameters(search: string): PageParameters {
  const query = new URLSearchParams(search);
  const complaints: string[] = [];

  /** The value of `name` where it is one of `known`; the first of those where there is none. */
  function choose<T extends string>(name: string, known: readonly T[]): T {
    const value = query.get(name) ?? known[0]!;
    const found = known.find((candidate) => candidate === value);
    if (found === undefined) {
      const words = known
        .filter((one) => one !== 'auto')
        .join(', ')
        .replace(/, ([^,]*)$/, ' or $1');
      complaints.push(`?${name}=${value}: ${words} is meant`);
    }
    return found ?? known[0]!;
  }

  const delay = query.get('delay') ?? '0';
  const delayMs = /^\d{1,5}$/.test(delay) ? Number(delay) : NaN;
  const knownDelay = delayMs <= MAX_DELAY_MS;
  if (!knownDelay) complaints.push(`?delay=${delay}: 0 to ${MAX_DELAY_MS} milliseconds is meant`);

  const disk = query.get('disk') ?? DEFAULT_DISK;
  const knownDisk = /^[a-z0-9][a-z0-9_-]{0,63}$/i.test(disk);
  if (!knownDisk) complaints.push(`?disk=${disk}: letters, digits, '-' and '_' are meant`);

  const image = query.get('image') ?? undefined;
  const knownImage = image === undefined || parseImagePlace(image) !== undefined;
  if (!knownImage) complaints.push(`?image=${image}: https://…, opfs:PATH or idb:NAME is meant`);

  return {
    guest: choose('guest', GUESTS),
    store: choose('store', STORE_KINDS),
    transport: choose('transport', TRANSPORTS),
    delayMs: knownDelay ? delayMs : 0,
    disk: knownDisk ? disk : DEFAULT_DISK,
    autostart: query.get('autostart') !== '0',
    cmdline: (query.get('cmdline') ?? '').replace(/\s+/g, ' ').trim(),
    image: knownImage ? image : undefined,
    complaints,
  };
}

/** The image that `parameters` name; undefined: a guest of ours boots. */
export function imagePlace(parameters: PageParameters): ImagePlace | undefined {
  return parameters.image === undefined ? undefined : parseImagePlace(parameters.image);
}

/** `search` with parameters set, or taken away where undefined or the default. */
export function withParameters(
  search: string,
  values: Readonly<Record<string, string | undefined>>,
): string {
  const query = new URLSearchParams(search);
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === DEFAULTS[name]) query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}
