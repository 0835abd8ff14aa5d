// The port to whatever runs us. Two implementations, `browser.ts` and `node.ts`; handed in by the
// entries, never imported by anything below them. A simulation hands in a third.

import type { DriverUrls } from './driver-urls.ts';

/** A message channel to a worker or from one, in either host's clothes (Comlink's Endpoint). */
export interface Endpoint {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
  removeEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
  /** Starts delivery, where the host needs telling. */
  start?(): void;
}

/** Which script a worker runs, where it is not the one that lies beside the entry. */
export interface WorkerSource {
  /**
   * Where a copy of `diskplane/worker` lies: for bundlers that do not find workers, and for CDNs. In
   * a browser it may be of another origin, which must then answer with CORS headers.
   */
  readonly workerUrl?: string | URL;
  /**
   * Folder of the copies of the package's `dist/drivers`: drivers that are not in the worker's file.
   * Default: `drivers/` beside `workerUrl`, or else what lies beside the entry.
   */
  readonly driversUrl?: string | URL;
  /** Makes the worker, of type 'module', where a URL does not do. `name` is for developer tools. */
  readonly createWorker?: (name: string) => Worker;
}

/** A running worker, seen from the thread that started it. */
export interface WorkerHandle {
  readonly endpoint: Endpoint;
  /** What the worker has to say to `holdLife`: no other worker's. */
  readonly life: string;
  /** Where the worker finds the drivers that are not in its own file. */
  readonly driverUrls: DriverUrls;
  /** Calls back when the worker fails to load, throws uncaught, or ends unasked. */
  onFailure(callback: (error: Error) => void): void;
  /** The worker runs and called `holdLife`: from now on its silent end is noticed too. */
  watchLife(): void;
  /** Ends the worker at once; idempotent. */
  terminate(): void;
}

/** Time, chance and one turn of the event loop. What an AioContext is made of. */
export interface Clock {
  /** Monotonic nanoseconds since an arbitrary start. */
  now(): number;
  /** `[0, 1)`; for jitter. */
  random(): number;
  /** Calls back after `ms` milliseconds; answers what cancels it. */
  setTimer(callback: () => void, ms: number): () => void;
  /** Resolves after one turn of the host's event loop: messages and I/O events got their chance. */
  turn(): Promise<void>;
}

export interface Host extends Clock {
  readonly name: 'browser' | 'node' | 'simulated';
  /**
   * In a worker: lets the thread that started it notice the end of this one, however it ends.
   * `life` is `WorkerHandle.life`. Resolves once that is so.
   */
  holdLife(life: string): Promise<void>;
}

/** The host of those who start IOThreads: pages, and Node's main thread. */
export interface PageHost extends Host {
  /**
   * Calls back when the page is left; `frozen`: it is put aside as it is, its workers with it, and may
   * come back (the back-forward cache). Answers what stops it.
   */
  onPageHide(callback: (frozen: boolean) => void): () => void;
  /**
   * Calls back when the browser may end the page without another word: it was hidden, or it is about to be
   * frozen (Page Lifecycle). Answers what stops it.
   */
  onBackground(callback: () => void): () => void;
  /**
   * Starts a worker that runs the IOThread entry. `name` shows up in developer tools. Throws what
   * the host throws where there can be no such worker.
   */
  spawnIOThread(name: string, source?: WorkerSource): WorkerHandle;
}
