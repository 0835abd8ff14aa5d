/**
 * What `import 'diskplane'` gives in Node: the same over worker threads, and the `file` driver besides.
 *
 * @module diskplane (Node)
 */

import { Disk } from './disk.ts';
import type { OpenDiskOptions } from './disk-options.ts';
import { createDiskOn } from './create-disk.ts';
import type { CreateDiskOptions } from './create-disk.ts';
import { NodeHost } from './host/node.ts';
import { importDiskOn } from './import-disk.ts';
import type { ImportDiskOptions } from './import-disk.ts';
import type { BlockdevOptions } from './iothread/control.ts';
import { IOThread } from './iothread/iothread.ts';
import type { IOThreadOptions } from './iothread/iothread-options.ts';

export * from './api.ts';

const host = new NodeHost(new URL('./iothread-worker.node.js', import.meta.url));

/** Starts a worker thread that may hold several disks. Throws BlockError. */
export function startIOThread(options: IOThreadOptions = {}): Promise<IOThread> {
  return IOThread.start(host, options);
}

/** Opens a disk; as in the browser, with `{ driver: 'file', filename }` besides. */
export function openDisk(
  what: string | BlockdevOptions,
  options: OpenDiskOptions = {},
): Promise<Disk> {
  return Disk.open(host, what, options);
}

/** Makes an image; as in the browser. */
export function createDisk(what: BlockdevOptions, options: CreateDiskOptions = {}): Promise<void> {
  return createDiskOn(host, what, options);
}

/** Puts an image into a file of the host, or wherever; as in the browser. */
export function importDisk(
  source: Blob | ReadableStream<Uint8Array>,
  target: BlockdevOptions,
  options: ImportDiskOptions = {},
): Promise<void> {
  return importDiskOn(host, source, target, options);
}
