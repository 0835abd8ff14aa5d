// A page as the host of IOThreads: starts their workers, and hears of their end.

import { BrowserHost, lifeLock } from './browser.ts';
import { driverUrls } from './driver-urls.ts';
import type { PageHost, WorkerHandle, WorkerSource } from './host.ts';

/** How the page makes the worker: bundlers find the URL where `new Worker` is written. */
export type CreateWorker = (name: string) => Worker;

/** A worker of the script at `url`. Scripts of other origins are run through one of ours. */
function workerAt(url: string | URL, name: string): Worker {
  const { href, origin, protocol } = new URL(url, location.href);
  if (origin === location.origin || !protocol.startsWith('http')) {
    return new Worker(href, { type: 'module', name });
  }
  const shim = new Blob([`import ${JSON.stringify(href)};`], { type: 'text/javascript' });
  const shimUrl = URL.createObjectURL(shim);
  try {
    return new Worker(shimUrl, { type: 'module', name });
  } finally {
    // What a URL stands for is looked up when the worker is made, not when it gets to loading.
    URL.revokeObjectURL(shimUrl);
  }
}

export class BrowserPage extends BrowserHost implements PageHost {
  readonly #createWorker: CreateWorker;
  readonly #drivers: () => Readonly<Record<string, URL>>;

  /** `drivers`: where the files lie that the worker takes drivers from, by their names. */
  constructor(createWorker: CreateWorker, drivers: () => Readonly<Record<string, URL>>) {
    super();
    this.#createWorker = createWorker;
    this.#drivers = drivers;
  }

  onPageHide(callback: (frozen: boolean) => void): () => void {
    const left = ({ persisted }: PageTransitionEvent): void => callback(persisted);
    globalThis.addEventListener('pagehide', left);
    return () => globalThis.removeEventListener('pagehide', left);
  }

  onBackground(callback: () => void): () => void {
    const stop = new AbortController();
    const { signal } = stop;
    const hidden = (): void => {
      if (document.visibilityState === 'hidden') callback();
    };
    document.addEventListener('visibilitychange', hidden, { signal });
    document.addEventListener('freeze', callback, { signal });
    return () => stop.abort();
  }

  spawnIOThread(name: string, source: WorkerSource = {}): WorkerHandle {
    // Not `randomUUID`, which only secure contexts have.
    const life = `${name}-${crypto.getRandomValues(new Uint32Array(4)).join('-')}`;
    const { workerUrl, createWorker = this.#createWorker } = source;
    const worker = workerUrl === undefined ? createWorker(life) : workerAt(workerUrl, life);
    const ended = new AbortController();
    const listeners: ((error: Error) => void)[] = [];
    return {
      endpoint: worker,
      life,
      driverUrls: driverUrls(this.#drivers(), source, location.href),
      watchLife: () => {
        navigator.locks
          ?.request(lifeLock(life), { signal: ended.signal }, () => {
            for (const listener of listeners) listener(new Error('the worker was terminated'));
          })
          .catch(() => {}); // Aborted: the end was asked for.
      },
      onFailure: (callback) => {
        listeners.push(callback);
        worker.addEventListener('error', (event) => {
          event.preventDefault();
          const where = event.filename ? ` (${event.filename}:${event.lineno})` : '';
          callback(new Error(`${event.message || 'the script could not be loaded'}${where}`));
        });
        worker.addEventListener('messageerror', () => {
          callback(new Error('a message could not be deserialised'));
        });
      },
      terminate: () => {
        ended.abort();
        worker.terminate();
      },
    };
  }
}
