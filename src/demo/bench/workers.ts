// Starts the benchmark's workers. Bundlers find a worker where `new Worker(new URL(…))` is written, so
// each kind has its own line here. Whoever starts one terminates it.

import { wrap } from 'comlink';
import type { Remote } from 'comlink';
import type { BareRingSetup } from './bare-ring-worker.ts';
import type { FetchControl } from './fetch-worker.ts';
import type { GuestControl } from './guest-worker.ts';
import type { IdbControl } from './idb-worker.ts';
import type { ParseControl } from './parse-worker.ts';
import type { SyncHandleControl } from './sync-handle-worker.ts';

export interface Started<Control> {
  readonly control: Remote<Control>;
  readonly terminate: () => void;
}

export function startGuest(): Started<GuestControl> {
  return started(
    new Worker(new URL('./guest-worker.ts', import.meta.url), { type: 'module', name: 'guest' }),
  );
}

export function startSyncHandle(): Started<SyncHandleControl> {
  return started(
    new Worker(new URL('./sync-handle-worker.ts', import.meta.url), {
      type: 'module',
      name: 'sync-handle',
    }),
  );
}

export function startIdb(): Started<IdbControl> {
  return started(
    new Worker(new URL('./idb-worker.ts', import.meta.url), { type: 'module', name: 'idb' }),
  );
}

export function startFetch(): Started<FetchControl> {
  return started(
    new Worker(new URL('./fetch-worker.ts', import.meta.url), { type: 'module', name: 'fetch' }),
  );
}

export function startParser(): Started<ParseControl> {
  return started(
    new Worker(new URL('./parse-worker.ts', import.meta.url), { type: 'module', name: 'parser' }),
  );
}

/** Resolves when the ring is served. */
export function startBareRing(setup: BareRingSetup): Promise<{ terminate(): void }> {
  const worker = new Worker(new URL('./bare-ring-worker.ts', import.meta.url), {
    type: 'module',
    name: 'bare-ring',
  });
  return new Promise((resolve, reject) => {
    worker.addEventListener('message', () => resolve({ terminate: () => worker.terminate() }));
    worker.addEventListener('error', (event) => reject(new Error(event.message)));
    worker.postMessage(setup);
  });
}

function started<Control>(worker: Worker): Started<Control> {
  return { control: wrap<Control>(worker), terminate: () => worker.terminate() };
}
