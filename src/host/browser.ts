// The browser as a Host, for pages and workers alike.

import type { Host, WorkerHandle, WorkerSource } from './host.ts';

/** One turn of the event loop through a MessageChannel: quick, where timers are clamped to 4 ms. */
class TurnChannel {
  readonly #channel = new MessageChannel();
  readonly #waiting: (() => void)[] = [];

  constructor() {
    this.#channel.port1.onmessage = (): void => this.#waiting.shift()?.();
  }
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#channel.port2.postMessage(null);
    });
  }
}

const lifeLock = (life: string): string => `diskplane:alive:${life}`;

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

export class BrowserHost implements Host {
  readonly name = 'browser';
  readonly #createWorker: CreateWorker;
  #turns: TurnChannel | undefined;

  constructor(createWorker: CreateWorker) {
    this.#createWorker = createWorker;
  }

  now(): number {
    return performance.now() * 1e6;
  }
  random(): number {
    return Math.random();
  }
  setTimer(callback: () => void, ms: number): () => void {
    const id = setTimeout(callback, Math.min(ms, 2 ** 31 - 1));
    return () => clearTimeout(id);
  }
  turn(): Promise<void> {
    this.#turns ??= new TurnChannel();
    return this.#turns.turn();
  }

  onPageHide(callback: () => void): () => void {
    globalThis.addEventListener('pagehide', callback);
    return () => globalThis.removeEventListener('pagehide', callback);
  }

  // A worker that is terminated from outside, or dies for want of memory, tells nobody. So it holds
  // a Web Lock for as long as it lives, and the page waits for that lock.
  holdLife(life: string): Promise<void> {
    const { locks } = navigator;
    if (locks === undefined) return Promise.resolve();
    return new Promise((held) => {
      void locks.request(lifeLock(life), () => {
        held();
        return new Promise<never>(() => {});
      });
    });
  }

  spawnIOThread(name: string, source: WorkerSource = {}): WorkerHandle {
    const life = `${name}-${crypto.randomUUID()}`;
    const { workerUrl, createWorker = this.#createWorker } = source;
    const worker = workerUrl === undefined ? createWorker(life) : workerAt(workerUrl, life);
    const ended = new AbortController();
    const listeners: ((error: Error) => void)[] = [];
    return {
      endpoint: worker,
      life,
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
