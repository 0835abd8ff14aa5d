// The package's entry in a browser: hands the browser's host to the layers below.

import { Disk } from './disk.ts';
import type { OpenDiskOptions } from './disk-options.ts';
import { publishedDriverUrls } from './published-drivers.ts';
import { BrowserPage } from './host/browser-page.ts';
import type { BlockdevOptions } from './iothread/control.ts';
import { IOThread } from './iothread/iothread.ts';
import type { IOThreadOptions } from './iothread/iothread.ts';
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
