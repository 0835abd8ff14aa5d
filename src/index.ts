/**
 * Opens, makes and imports disks, on IOThreads in Web Workers. `diskplane/inline` is the same with the
 * worker inside.
 *
 * @module diskplane
 */
// Hands the browser's host to the layers below.

import { Disk } from './disk.ts';
import type { OpenDiskOptions } from './disk-options.ts';
import { publishedDriverUrls } from './published-drivers.ts';
import { BrowserPage } from './host/browser-page.ts';
import type { BlockdevOptions } from './iothread/control.ts';
import { importDiskOn } from './import-disk.ts';
import type { ImportDiskOptions } from './import-disk.ts';
import { IOThread } from './iothread/iothread.ts';
import type { IOThreadOptions } from './iothread/iothread-options.ts';
import { createDiskOn } from './create-disk.ts';
import type { CreateDiskOptions } from './create-disk.ts';

export * from './api.ts';

const host = new BrowserPage(
  (name) => new Worker(new URL('./iothread/worker.ts', import.meta.url), { type: 'module', name }),
  publishedDriverUrls,
);

/** Starts a worker that may hold several disks. Throws BlockError when it does not come up. */
export function startIOThread(options: IOThreadOptions = {}): Promise<IOThread> {
  return IOThread.start(host, options);
}

/**
 * Opens a disk: QEMU-style options (`{ driver: 'qcow2', file: { driver: 'opfs', path } }`), or a
 * short name (`'https://…/disk.img'`, `'opfs:disk.qcow2'`). Throws BlockError.
 */
export function openDisk(
  what: string | BlockdevOptions,
  options: OpenDiskOptions = {},
): Promise<Disk> {
  return Disk.open(host, what, options);
}

/**
 * Makes an image of `size` bytes: `{ driver: 'qcow2', size, file: { driver: 'opfs', path } }`, with
 * QEMU's creation options (`'cluster-size'`, `'backing-file'` …). Replaces what was there. Throws
 * BlockError.
 */
export function createDisk(what: BlockdevOptions, options: CreateDiskOptions = {}): Promise<void> {
  return createDiskOn(host, what, options);
}

/**
 * Puts an image into the browser's storage: a File that a person chose, or a stream such as
 * `response.body`. Byte for byte where `target` is a file (`{ driver: 'opfs', path }`, `{ driver:
 * 'idb', database }`), so that a qcow2 file stays one; a format (`{ driver: 'qcow2', file: … }`) takes
 * the bytes for the disk's. Replaces what was there. Works without shared memory. When it fails, or is
 * aborted, there is no image left. Throws BlockError - ENOSPC, EBUSY, EIO for a stream that is shorter
 * than `size` -, the signal's reason, or what the stream threw.
 */
export function importDisk(
  source: Blob | ReadableStream<Uint8Array>,
  target: BlockdevOptions,
  options: ImportDiskOptions = {},
): Promise<void> {
  return importDiskOn(host, source, target, options);
}
