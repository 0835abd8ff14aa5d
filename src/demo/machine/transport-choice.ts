// How requests will travel from the guest to the IOThread, and why, in plain words.

import type { TransportChoice } from '../page-parameters.ts';

export interface Transport {
  readonly kind: 'zero-copy' | 'bounce';
  readonly why: string;
}

/**
 * What to use where `wanted` was asked for. A machine with a screen is kept off shared memory unless
 * that is asked for: v86 cannot draw graphics from there.
 */
export function chooseTransport(wanted: TransportChoice, hasScreen: boolean): Transport {
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

export function transportName(kind: Transport['kind']): string {
  return kind === 'zero-copy' ? 'zero copy' : 'bounce copies';
}
