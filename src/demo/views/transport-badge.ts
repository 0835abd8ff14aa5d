// Which transport runs and why, with a button to try the other.

import { element, make } from '../elements.ts';
import { fellBack, transportName } from '../machine/transport-choice.ts';
import type { Transport, TransportKind } from '../machine/transport-choice.ts';

/**
 * Shows `transport`; `actual` is what the machine says once it is there, and may differ. `boot` ends
 * what runs and boots with another transport; undefined: there is no other.
 */
export function showTransport(
  transport: Transport,
  boot: ((kind: TransportKind) => void) | undefined,
  actual?: { readonly transport: TransportKind; readonly reason: string },
): void {
  const { kind, why } =
    actual === undefined || actual.transport === transport.kind
      ? transport
      : fellBack(actual.transport, actual.reason);
  const badge = element('transport', HTMLElement);
  badge.textContent = transportName(kind);
  badge.dataset['transport'] = kind;
  const reason = element('transport-reason', HTMLElement);
  if (boot === undefined) return reason.replaceChildren(why);
  const other = kind === 'zero-copy' ? 'bounce' : 'zero-copy';
  const button = make('button', 'link', `Boot with ${transportName(other)}`);
  button.type = 'button';
  button.dataset['testid'] = 'other-transport';
  button.addEventListener('click', () => boot(other));
  reason.replaceChildren(`${why} `, button);
}
