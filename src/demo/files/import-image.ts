// Gets an image into this browser's storage: a file of the user's, byte for byte, or a new empty disk.
// Either is then an image of one's own, with an `image` parameter.

import { BlockError } from '../../block/block-error.ts';
import { diskFile } from '../boot/disk-file.ts';
import type { DiskFile } from '../boot/disk-file.ts';
import { storedName } from '../boot/image-place.ts';
import type { StoreKind } from '../boot/store-kind.ts';
import { createDisk, importDisk, openDisk, queryStorage } from '../../index.ts';
import type { JobOptions } from '../../index.ts';

const SECTOR = 512;
const CHUNK = 4 * 1024 * 1024;

/**
 * Copies `file` and answers its `image` parameter. Throws BlockError, ENOSPC where it does not fit;
 * when aborted, `signal.reason`. Nothing is left behind then.
 */
export async function importImage(file: File, store: StoreKind, job: JobOptions): Promise<string> {
  if (file.size === 0) throw new BlockError('EINVAL', `'${file.name}' is empty`);
  const { quota, usage } = await queryStorage();
  if (quota !== undefined && file.size > quota - (usage ?? 0)) {
    throw new BlockError('ENOSPC', `'${file.name}' does not fit into the browser's storage`);
  }
  const target = await freeFile(store, file.name);
  await fillDiskFile(target, file, job);
  return `${store}:${target.name}`;
}

/** Makes an empty qcow2 disk of `bytes` and answers its `image` parameter. Throws BlockError. */
export async function createBlank(
  name: string,
  bytes: number,
  store: StoreKind,
  signal: AbortSignal,
): Promise<string> {
  const target = await freeFile(store, `${name}.qcow2`);
  const { file, thread } = await target.reference('image-file');
  const extra = thread === undefined ? {} : { thread };
  await createDisk({ driver: 'qcow2', size: bytes, file }, { signal, ...extra });
  return `${store}:${target.name}`;
}

/**
 * Puts `bytes` into a file of a disk, in place of what was there. Throws BlockError; when aborted,
 * the signal's reason.
 */
export async function fillDiskFile(target: DiskFile, bytes: Blob, job: JobOptions): Promise<void> {
  await target.remove();
  const { file, thread } = await target.reference('overlay-file');
  if (typeof file !== 'string') return importDisk(bytes, file, job);
  // In memory: the node is there, and stays.
  const extra = thread === undefined ? {} : { thread };
  await using disk = await openDisk({ driver: 'raw', file }, extra);
  const total = bytes.size;
  await disk.resize(Math.ceil(total / SECTOR) * SECTOR);
  for (let done = 0; done < total; done += CHUNK) {
    job.signal?.throwIfAborted();
    const chunk = await bytes.slice(done, done + CHUNK).arrayBuffer();
    await disk.write(done, new Uint8Array(chunk));
    job.onProgress?.({ done, total });
  }
}

/** `disk.img`, or `disk-2.img` where that is taken. */
async function freeFile(store: StoreKind, fileName: string): Promise<DiskFile> {
  const name = storedName(fileName);
  const dot = name.lastIndexOf('.') > name.lastIndexOf('/') ? name.lastIndexOf('.') : name.length;
  for (let n = 1; ; n++) {
    const suffix = n === 1 ? '' : `-${n}`;
    const file = diskFile(store, `${name.slice(0, dot)}${suffix}${name.slice(dot)}`);
    if (!(await file.exists())) return file;
  }
}
