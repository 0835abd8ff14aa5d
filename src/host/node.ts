// Node as a Host: worker_threads in place of Web Workers.

import { Worker } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import type { Endpoint, PageHost, WorkerHandle, WorkerSource } from './host.ts';

type Port = Pick<MessagePort, 'postMessage'> & {
  on(event: 'message', listener: (data: unknown) => void): unknown;
  off(event: 'message', listener: (data: unknown) => void): unknown;
};
type Listener = (event: MessageEvent) => void;

/** A worker_threads port or worker in a MessagePort's clothes, which is what Comlink speaks. */
export function nodeEndpoint(port: Port): Endpoint {
  const wrapped = new Map<Listener, (data: unknown) => void>();
  return {
    postMessage: (message, transfer) => {
      port.postMessage(message, transfer as Parameters<Port['postMessage']>[1]);
    },
    addEventListener: (_type, listener) => {
      const wrapper = (data: unknown): void => listener({ data } as MessageEvent);
      wrapped.set(listener, wrapper);
      port.on('message', wrapper);
    },
    removeEventListener: (_type, listener) => {
      const wrapper = wrapped.get(listener);
      if (wrapper !== undefined) port.off('message', wrapper);
      wrapped.delete(listener);
    },
  };
}

export class NodeHost implements PageHost {
  readonly name = 'node';
  readonly #worker: URL;

  /** `worker`: the script that runs an IOThread. */
  constructor(worker: URL) {
    this.#worker = worker;
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
    return new Promise((resolve) => setImmediate(resolve));
  }

  onPageHide(): () => void {
    return () => {}; // There is no page.
  }

  onBackground(): () => void {
    return () => {};
  }

  async holdLife(): Promise<void> {} // The 'exit' event tells.

  spawnIOThread(name: string, source: WorkerSource = {}): WorkerHandle {
    if (source.createWorker !== undefined) {
      throw new TypeError('createWorker makes Web Workers; in Node, give workerUrl');
    }
    const worker = new Worker(source.workerUrl ?? this.#worker, { name });
    let asked = false;
    return {
      endpoint: nodeEndpoint(worker),
      life: name,
      driverUrls: {}, // The worker's one file holds every driver.
      watchLife: () => {},
      onFailure: (callback) => {
        worker.on('error', callback);
        worker.on('exit', (code) => {
          if (!asked) callback(new Error(`the worker exited with code ${code}`));
        });
      },
      terminate: () => {
        asked = true;
        void worker.terminate();
      },
    };
  }
}
