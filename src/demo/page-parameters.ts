// What the page's URL may say. Wrong values are named, not guessed at.

/** `'auto'` is Linux where it was built, and the embedded guest elsewhere. */
export type GuestChoice = 'auto' | 'linux' | 'embedded';

/** How requests reach the IOThread; `'auto'` takes the best that the page may use. */
export type TransportChoice = 'auto' | 'zero-copy' | 'bounce' | 'messages';

export interface PageParameters {
  /** `?guest=linux|embedded` */
  readonly guest: GuestChoice;
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
  /** `?image=https://…` or `?image=opfs:PATH`: an image to boot in place of a guest of ours. */
  readonly image: string | undefined;
  /** In plain words, one for each value that was not understood. */
  readonly complaints: readonly string[];
}

export const DEFAULT_DISK = 'guest-overlay';
const MAX_DELAY_MS = 10_000;

/** Reads the part of a URL from the question mark on. */
export function parsePageParameters(search: string): PageParameters {
  const query = new URLSearchParams(search);
  const complaints: string[] = [];
  const transport = query.get('transport') ?? 'auto';
  const knownTransport =
    transport === 'auto' ||
    transport === 'zero-copy' ||
    transport === 'bounce' ||
    transport === 'messages';
  if (!knownTransport) {
    complaints.push(`?transport=${transport}: zero-copy, bounce or messages is meant`);
  }

  const guest = query.get('guest') ?? 'auto';
  const knownGuest = guest === 'auto' || guest === 'linux' || guest === 'embedded';
  if (!knownGuest) complaints.push(`?guest=${guest}: linux or embedded is meant`);

  const delay = query.get('delay') ?? '0';
  const delayMs = /^\d{1,5}$/.test(delay) ? Number(delay) : NaN;
  const knownDelay = delayMs <= MAX_DELAY_MS;
  if (!knownDelay) complaints.push(`?delay=${delay}: 0 to ${MAX_DELAY_MS} milliseconds is meant`);

  const disk = query.get('disk') ?? DEFAULT_DISK;
  const knownDisk = /^[a-z0-9][a-z0-9_-]{0,63}$/i.test(disk);
  if (!knownDisk) complaints.push(`?disk=${disk}: letters, digits, '-' and '_' are meant`);

  const image = query.get('image') ?? undefined;
  const knownImage = image === undefined || /^(https?:\/\/|opfs:)./.test(image);
  if (!knownImage) complaints.push(`?image=${image}: https://… or opfs:PATH is meant`);

  return {
    guest: knownGuest ? guest : 'auto',
    transport: knownTransport ? transport : 'auto',
    delayMs: knownDelay ? delayMs : 0,
    disk: knownDisk ? disk : DEFAULT_DISK,
    autostart: query.get('autostart') !== '0',
    cmdline: (query.get('cmdline') ?? '').replace(/\s+/g, ' ').trim(),
    image: knownImage ? image : undefined,
    complaints,
  };
}

/** `search` with one parameter set, or taken away. */
export function withParameter(search: string, name: string, value: string | undefined): string {
  const query = new URLSearchParams(search);
  if (value === undefined) query.delete(name);
  else query.set(name, value);
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}
