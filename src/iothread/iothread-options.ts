// How an IOThread is started, and the start of its worker.

import { BlockError } from '../block/block-error.ts';
import type { PageHost, WorkerHandle, WorkerSource } from '../host/host.ts';
import type { PollOptions } from './poll-options.ts';
import type { ThreadTransport } from './thread-transport.ts';

/** How an IOThread is started. */
export interface IOThreadOptions extends WorkerSource, PollOptions {
  /** Shows up in errors and developer tools. Default 'iothread'. */
  readonly id?: string;
  /**
   * How requests reach it. `auto`, the default, is messages where there is no SharedArrayBuffer: the
   * page is not cross-origin isolated.
   */
  readonly transport?: 'auto' | ThreadTransport;
  /** How long the worker may take to start, milliseconds. Default 20,000. */
  readonly startTimeoutMs?: number;
  /** Ends the start with its reason, and the worker with it; of no effect once the thread is up. */
  readonly signal?: AbortSignal;
}

/** Starts the worker of thread `id`. Throws BlockError('ENODEV') where there can be none. */
export function spawnWorker(host: PageHost, id: string, source: WorkerSource): WorkerHandle {
  try {
    return host.spawnIOThread(`diskplane-${id}`, source);
  } catch (cause) {
    throw new BlockError('ENODEV', `IOThread '${id}' cannot be started: ${String(cause)}`, {
      cause,
    });
  }
}
