// createDisk: a control call on the caller's IOThread, or on one started for it.

import { threadOptions } from './disk-options.ts';
import type { PageHost, WorkerSource } from './host/host.ts';
import type { BlockdevOptions } from './iothread/control.ts';
import { IOThread } from './iothread/iothread.ts';

/** How an image is made. Its `WorkerSource` is for the thread that is started where none is given. */
export interface CreateDiskOptions extends WorkerSource {
  /** Where the work is done. Default: a thread of its own, which ends with it. */
  readonly thread?: IOThread;
  /** Ends the work with its reason; then there is no image. */
  readonly signal?: AbortSignal;
}

/** Makes an image. Throws BlockError. */
export async function createDiskOn(
  host: PageHost,
  what: BlockdevOptions,
  options: CreateDiskOptions = {},
): Promise<void> {
  if (options.thread !== undefined) {
    return options.thread.blockdevCreate(what, options.signal);
  }
  const thread = await IOThread.start(host, { ...threadOptions(options), id: 'create' });
  try {
    await thread.blockdevCreate(what, options.signal);
  } finally {
    await thread.close();
  }
}
