// How requests will travel from the guest to the IOThread, and why, in plain words.

import type { TransportChoice } from '../page-parameters.ts';

export interface Transport {
  readonly kind: 'zero-copy' | 'bounce' | 'messages';
  readonly why: string;
}

/**
 * What to use where `wanted` was asked for, and `sharable` says whether the page has shared memory. A
 * machine with a screen is kept off it unless that is asked for: v86 cannot draw graphics from there.
 */
export function chooseTransport(
  wanted: TransportChoice,
  hasScreen: boolean,
  sharable: boolean,
): Transport {
  if (!sharable) {
    return {
      kind: 'messages',
      why: `${SENDS} This page is not cross-origin isolated, so there is no shared memory.`,
    };
  }
  if (wanted === 'messages') {
    return { kind: 'messages', why: `${SENDS} This page's URL asks for it.` };
  }
  if (wanted === 'bounce') return { kind: 'bounce', why: `${COPIES} This page's URL asks for it.` };
  if (wanted === 'zero-copy') {
    return { kind: 'zero-copy', why: `${SHARES} This page's URL asks for it.` };
  }
  if (hasScreen) {
    return { kind: 'bounce', why: `${COPIES} v86 cannot draw graphics from shared memory.` };
  }
  return {
    kind: 'zero-copy',
    why: `${SHARES} It runs because this page is cross-origin isolated.`,
  };
}

const SHARES =
  "The IOThread reads and writes in the guest's own memory; nothing is copied between.";
const COPIES = 'Data are copied once, between the guest and a memory shared with the IOThread.';
const SENDS = 'Requests and data go to the IOThread and back in messages.';

const NAMES = { 'zero-copy': 'zero copy', bounce: 'bounce copies', messages: 'messages' } as const;

export function transportName(kind: Transport['kind']): string {
  return NAMES[kind];
}
