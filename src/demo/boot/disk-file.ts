// A file of a disk in one of the places that a page can write to. Who boots asks for the file's node
// options and does not care where it is: OPFS, IndexedDB, or memory, which is gone with the page.

import { BlockError } from '../../block/block-error.ts';
import { databaseOfPath } from '../../block/protocols/opfs-fallback.ts';
import { startIOThread } from '../../index.ts';
import type { BlockdevOptions, IOThread } from '../../index.ts';
import { fileLength, removeFile } from '../files/opfs-files.ts';
import type { StoreKind } from './store-kind.ts';

/** What a parent's `file` may be, and the IOThread that has to open it where that matters. */
export interface FileReference {
  readonly file: BlockdevOptions | string;
  readonly thread: IOThread | undefined;
}

export interface DiskFile {
  readonly store: StoreKind;
  /** Path in OPFS, name of the database, name in memory. */
  readonly name: string;
  /** Whether something was written there once. */
  exists(): Promise<boolean>;
  /** `nodeName`: of the node that the file will be. Makes nothing but a node in memory. */
  reference(nodeName: string): Promise<FileReference>;
  /** Removes it; none there is fine. Throws BlockError('EBUSY') while it is open somewhere. */
  remove(): Promise<void>;
}

/** The file `name` in `store`; the same one for the same name. */
export function diskFile(store: StoreKind, name: string): DiskFile {
  if (store === 'opfs') return new OpfsDiskFile(name);
  if (store === 'idb') return new IdbDiskFile(name);
  let file = inMemory.get(name);
  if (file === undefined) inMemory.set(name, (file = new MemoryDiskFile(name)));
  return file;
}

class OpfsDiskFile implements DiskFile {
  readonly store = 'opfs';
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
  async exists(): Promise<boolean> {
    // An empty file is a creation that was cut short before the header. The driver keeps in IndexedDB
    // what it could not keep here.
    return ((await fileLength(this.name)) ?? 0) > 0 || hasDatabase(databaseOfPath(this.name));
  }
  async reference(nodeName: string): Promise<FileReference> {
    const file = { driver: 'opfs', 'node-name': nodeName, path: this.name };
    return { file, thread: undefined };
  }
  async remove(): Promise<void> {
    await removeFile(this.name);
    const database = databaseOfPath(this.name);
    if (await hasDatabase(database)) await deleteDatabase(database);
  }
}

class IdbDiskFile implements DiskFile {
  readonly store = 'idb';
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
  exists(): Promise<boolean> {
    return hasDatabase(this.name);
  }
  async reference(nodeName: string): Promise<FileReference> {
    const file = { driver: 'idb', 'node-name': nodeName, database: this.name };
    return { file, thread: undefined };
  }
  remove(): Promise<void> {
    return deleteDatabase(this.name);
  }
}

async function hasDatabase(name: string): Promise<boolean> {
  const databases = await indexedDB.databases();
  return databases.some((database) => database.name === name);
}

async function deleteDatabase(name: string): Promise<void> {
  // The driver's own lock: deleting under a disk that is open would pull it from under a guest.
  await navigator.locks.request(`diskplane:idb:${name}`, { ifAvailable: true }, (lock) => {
    if (lock !== null) return deleteUnlocked(name);
    throw new BlockError('EBUSY', `'${name}' is in use by another tab or window`);
  });
}

function deleteUnlocked(name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = (): void => resolve();
    request.onerror = (): void => {
      const message = `IndexedDB does not delete '${name}'`;
      reject(new BlockError('EIO', message, { cause: request.error }));
    };
  });
}

/** Files in memory live until the page goes, boots come and go. */
const inMemory = new Map<string, MemoryDiskFile>();

class MemoryDiskFile implements DiskFile {
  readonly store = 'memory';
  readonly name: string;
  /** Holds the node, and serves the disks on it. */
  #thread: IOThread | undefined;
  #nodeName = '';

  constructor(name: string) {
    this.name = name;
  }

  async exists(): Promise<boolean> {
    if (this.#thread === undefined || this.#thread.failed !== undefined) return false;
    const nodes = await this.#thread.queryBlock();
    return nodes.some((node) => node.nodeName === this.#nodeName && node.length > 0);
  }

  async reference(nodeName: string): Promise<FileReference> {
    if (this.#thread === undefined || this.#thread.failed !== undefined) {
      const thread = await startIOThread({ id: 'memory' });
      await thread.blockdevAdd({ driver: 'memory', 'node-name': nodeName });
      this.#nodeName = nodeName;
      this.#thread = thread;
    }
    return { file: this.#nodeName, thread: this.#thread };
  }

  async remove(): Promise<void> {
    const thread = this.#thread;
    this.#thread = undefined;
    await thread?.close();
  }
}
