// Whole files in the origin's private file system, as the page needs them: is it there, remove it,
// put a file in. The disk's own bytes go through the opfs driver on the IOThread.

import { BlockError } from '../../block/block-error.ts';

/** Length in bytes, or undefined where there is no such file. */
export async function fileLength(path: string): Promise<number | undefined> {
  try {
    const handle = await findFile(path, false);
    return (await handle.getFile()).size;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw explain(path, error);
  }
}

/** The first `bytes` of a file. */
export async function readStart(path: string, bytes: number): Promise<Uint8Array> {
  const file = await (await findFile(path, false)).getFile();
  return new Uint8Array(await file.slice(0, bytes).arrayBuffer());
}

/** Removes a file; none there is fine. Throws BlockError('EBUSY') while another tab holds it. */
export async function removeFile(path: string): Promise<void> {
  const { folder, name } = split(path);
  try {
    const directory = await findFolder(folder, false);
    await directory.removeEntry(name);
  } catch (error) {
    if (!isMissing(error)) throw explain(path, error);
  }
}

/** Text of a small file, or undefined. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await (await (await findFile(path, false)).getFile()).text();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw explain(path, error);
  }
}

export async function writeText(path: string, text: string): Promise<void> {
  try {
    const writable = await (await findFile(path, true)).createWritable();
    await writable.write(text);
    await writable.close();
  } catch (error) {
    throw explain(path, error);
  }
}

/**
 * Copies `source` to `path`, replacing what was there only once all is copied. `onProgress` hears
 * of bytes done and in all.
 */
export async function copyInto(
  path: string,
  source: Blob,
  options: {
    readonly signal?: AbortSignal;
    readonly onProgress?: (done: number, total: number) => void;
  } = {},
): Promise<void> {
  try {
    const writable = await (await findFile(path, true)).createWritable();
    let done = 0;
    const count = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform: (chunk, controller) => {
        done += chunk.length;
        controller.enqueue(chunk);
        options.onProgress?.(done, source.size);
      },
    });
    const piped = options.signal === undefined ? {} : { signal: options.signal };
    await source.stream().pipeThrough(count).pipeTo(writable, piped);
  } catch (error) {
    if (options.signal?.aborted === true) throw error;
    throw explain(path, error);
  }
}

function split(path: string): { folder: readonly string[]; name: string } {
  const names = path.split('/').filter((name) => name !== '');
  return { folder: names.slice(0, -1), name: names.at(-1) ?? '' };
}

async function findFolder(
  names: readonly string[],
  create: boolean,
): Promise<FileSystemDirectoryHandle> {
  let directory = await navigator.storage.getDirectory();
  for (const name of names) directory = await directory.getDirectoryHandle(name, { create });
  return directory;
}

async function findFile(path: string, create: boolean): Promise<FileSystemFileHandle> {
  const { folder, name } = split(path);
  return (await findFolder(folder, create)).getFileHandle(name, { create });
}

function isMissing(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'NotFoundError';
}

function explain(path: string, cause: unknown): BlockError {
  const name = cause instanceof Error || cause instanceof DOMException ? cause.name : '';
  if (name === 'NoModificationAllowedError') {
    return new BlockError('EBUSY', `'${path}' is in use by another tab or window`, { cause });
  }
  if (name === 'QuotaExceededError') {
    return new BlockError('ENOSPC', `the browser's storage for this page is full`, { cause });
  }
  return new BlockError('EIO', `'${path}' in the browser's storage: ${String(cause)}`, { cause });
}
