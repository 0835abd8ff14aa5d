// Which transport runs and why, with a link to try the other.

import { element, make } from '../elements.ts';
import { withParameter } from '../page-parameters.ts';
import { transportName } from '../machine/transport-choice.ts';
import type { Transport } from '../machine/transport-choice.ts';

/** Shows `transport`; `actual` is what the machine says once it is there, and may differ. */
export function showTransport(
  transport: Transport,
  actual?: { readonly transport: Transport['kind']; readonly reason: string },
): void {
  const kind = actual?.transport ?? transport.kind;
  const badge = element('transport', HTMLElement);
  badge.textContent = transportName(kind);
  badge.dataset['transport'] = kind;
  const fellBack = actual !== undefined && actual.transport !== transport.kind;
  const why = fellBack ? `Bounce copies, since ${actual.reason}.` : transport.why;
  const reason = element('transport-reason', HTMLElement);
  // Without shared memory there is no other.
  if (typeof SharedArrayBuffer === 'undefined') return reason.replaceChildren(why);
  const other = kind === 'zero-copy' ? 'bounce' : 'zero-copy';
  const link = make('a', '', `Boot with ${transportName(other)}`);
  link.href = withParameter(location.search, 'transport', other);
  link.dataset['testid'] = 'other-transport';
  reason.replaceChildren(`${why} `, link);
}
