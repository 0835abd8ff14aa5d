// Watches what a guest that talks says on its serial line: it is up, it reboots, it is off.

import type { GuestTalk } from './guest-shell.ts';
import type { SerialConsole } from './serial-console.ts';

export interface GuestNews {
  /** It is at its prompt. */
  up(words: string): void;
  /** It is up, and cannot use its disk. */
  noDisk(): void;
  reboots(): void;
  /** Its last word. */
  off(): void;
}

/** Tells `news` of what is said from position `from` on. */
export function followGuest(
  serial: SerialConsole,
  talk: GuestTalk,
  news: GuestNews,
  from = 0,
): void {
  // None of these settles for a machine that ended; they go with its serial line.
  void serial.waitFor(talk.ready, { from }).then(([, boots]) => {
    const uncounted = boots === undefined || boots === 'read-only';
    news.up(`${talk.name} is up${uncounted ? '' : `, boot number ${boots} of this disk`}`);
  });
  void serial.waitFor(talk.noDisk, { from }).then(() => news.noDisk());
  void serial.waitFor(talk.off, { from }).then(() => news.off());
  void serial.waitFor(talk.reboots, { from }).then(() => {
    news.reboots();
    followGuest(serial, talk, news, serial.position);
  });
}
