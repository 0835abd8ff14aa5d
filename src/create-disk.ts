// createDisk: a control call on the caller's IOThread, or on one started for it.

import type { Host } from './host/host.ts';
import type { BlockdevOptions } from './iothread/control.ts';
import { IOThread } from './iothread/iothread.ts';

/** Makes an image. Throws BlockError. */
export async function createDiskOn(
  host: Host,
  what: BlockdevOptions,
  options: { readonly thread?: IOThread; readonly signal?: AbortSignal } = {},
): Promise<void> {
  if (options.thread !== undefined) {
    return options.thread.blockdevCreate(what, options.signal);
  }
  const start = options.signal === undefined ? {} : { signal: options.signal };
  const thread = await IOThread.start(host, { id: 'create', ...start });
  try {
    await thread.blockdevCreate(what, options.signal);
  } finally {
    await thread.close();
  }
}
