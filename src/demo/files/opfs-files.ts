// Whole files in the origin's private file system, as the page needs them: is it there, remove it,
// read it, write it. The disk's own bytes go through the opfs driver on the IOThread.

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

/** A file to read, or undefined where there is none. */
export async function readFile(path: string): Promise<File | undefined> {
  try {
    return await (await findFile(path, false)).getFile();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw explain(path, error);
  }
}

/** Paths of the files in a folder; none where there is no such folder. */
export async function listFiles(folder: string): Promise<string[]> {
  try {
    const directory = await findFolder(split(`${folder}/file`).folder, false);
    const paths: string[] = [];
    for await (const name of directory.keys()) paths.push(`${folder}/${name}`);
    return paths;
  } catch (error) {
    if (isMissing(error)) return [];
    throw explain(folder, error);
  }
}

/** A file to write; what was there stays until the stream is closed. Throws BlockError. */
export async function openWritable(path: string): Promise<FileSystemWritableFileStream> {
  try {
    return await (await findFile(path, true)).createWritable();
  } catch (error) {
    throw explain(path, error);
  }
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
