// What the opfs driver asks of the browser, so that a test can stand in for it. OPFS lives in the
// origin's private file system; sync access handles exist in dedicated workers only.

import { BlockError } from '../block-error.ts';
import type { SyncHandle } from './file-sync-handle.ts';

/** A file handle with what TypeScript's DOM library lacks. */
export interface OpfsFileHandle {
  /** Absent outside dedicated workers. `mode` is honoured by Chromium, ignored by Firefox. */
  createSyncAccessHandle?(options?: { mode: string }): Promise<SyncHandle>;
  getFile(): Promise<{ readonly size: number; readonly lastModified: number }>;
}

/** A directory, as far as it is used here. All calls throw DOMExceptions. */
export interface OpfsDirectory {
  getDirectoryHandle(name: string, options: { create: boolean }): Promise<OpfsDirectory>;
  getFileHandle(name: string, options: { create: boolean }): Promise<OpfsFileHandle>;
  removeEntry(name: string): Promise<void>;
}

/** The part of LockManager that is used. */
export interface OpfsLocks {
  request(
    name: string,
    options: { mode: 'exclusive' | 'shared'; signal: AbortSignal } | { steal: true },
    granted: () => Promise<void>,
  ): Promise<unknown>;
}

export interface OpfsEnvironment {
  /** The origin's private directory. Throws BlockError('ENOTSUP') where there is none. */
  root(): Promise<OpfsDirectory>;
  /** Absent in browsers without Web Locks; exclusive handles then guard alone. */
  locks(): OpfsLocks | undefined;
}

export const browserOpfs: OpfsEnvironment = {
  async root(): Promise<OpfsDirectory> {
    const storage = globalThis.navigator?.storage as Partial<StorageManager> | undefined;
    if (storage?.getDirectory === undefined) {
      throw new BlockError(
        'ENOTSUP',
        'opfs: this place has no origin private file system; it needs https (or localhost) and a ' +
          'browser that has one. The memory driver works everywhere, without keeping anything',
      );
    }
    return storage.getDirectory();
  },
  locks(): OpfsLocks | undefined {
    return (globalThis.navigator as Partial<Navigator> | undefined)?.locks;
  },
};
