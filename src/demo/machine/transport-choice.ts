// How requests will travel from the guest to the IOThread, and why, in plain words.

import type { TransportChoice } from '../page-parameters.ts';

export type TransportKind = 'zero-copy' | 'bounce' | 'messages';

export interface Transport {
  readonly kind: TransportKind;
  readonly why: string;
}

const HOW: Readonly<Record<TransportKind, string>> = {
  'zero-copy':
    "The IOThread reads and writes in the guest's own memory; nothing is copied between.",
  bounce: 'Data are copied once, between the guest and a memory shared with the IOThread.',
  messages: 'Requests and data go to the IOThread and back in messages.',
};

const NAMES: Readonly<Record<TransportKind, string>> = {
  'zero-copy': 'zero copy',
  bounce: 'bounce copies',
  messages: 'messages',
};

/** What to use where `wanted` was asked for; `sharable`: the page has shared memory. */
export function chooseTransport(wanted: TransportChoice, sharable: boolean): Transport {
  if (!sharable) {
    const why = 'This page is not cross-origin isolated, so there is no shared memory.';
    return { kind: 'messages', why: `${HOW.messages} ${why}` };
  }
  if (wanted !== 'auto') return { kind: wanted, why: `${HOW[wanted]} It was asked for.` };
  const why = `${HOW['zero-copy']} It runs because this page is cross-origin isolated.`;
  return { kind: 'zero-copy', why };
}

/** What runs, where it is not what was chosen. */
export function fellBack(kind: TransportKind, reason: string): Transport {
  return { kind, why: `${HOW[kind]} It runs since ${reason}.` };
}

export function transportName(kind: TransportKind): string {
  return NAMES[kind];
}
