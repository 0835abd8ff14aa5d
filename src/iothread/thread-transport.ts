// How requests reach an IOThread: through rings in shared memory, or as messages where the page has none
// because it is not cross-origin isolated.

import { BlockError } from '../block/block-error.ts';

/** `shared`: through rings in shared memory. `messages`: in messages, data copied on each side. */
export type ThreadTransport = 'shared' | 'messages';

/** What to use where `wanted` is asked for. ENOTSUP for shared memory where there is none. */
export function chooseTransport(wanted: 'auto' | ThreadTransport): ThreadTransport {
  if (wanted === 'messages') return 'messages';
  if (typeof SharedArrayBuffer !== 'undefined') return 'shared';
  if (wanted === 'auto') return 'messages';
  throw new BlockError(
    'ENOTSUP',
    'SharedArrayBuffer is missing: serve the page with Cross-Origin-Opener-Policy: ' +
      'same-origin and Cross-Origin-Embedder-Policy: require-corp',
  );
}
