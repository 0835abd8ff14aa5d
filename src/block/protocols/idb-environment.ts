// What the idb driver asks of the browser, so that a test can stand in for it: IndexedDB itself, and
// the Web Locks that keep a second tab away.

import { BlockError } from '../block-error.ts';
import { hasDatabase } from './idb-has.ts';
import type { OpfsLocks } from './opfs-environment.ts';

export interface IdbEnvironment {
  /** Throws BlockError('ENOTSUP') where there is none. */
  factory(): Pick<IDBFactory, 'open' | 'deleteDatabase'>;
  /** See `hasDatabase`. */
  has(database: string): Promise<boolean>;
  /** Keys from `first` to `last`, both included. */
  range(first: number, last: number): IDBKeyRange;
  /** Absent in browsers without Web Locks; then nothing keeps a second tab away. */
  locks(): OpfsLocks | undefined;
}

export const browserIdb: IdbEnvironment = {
  factory(): IDBFactory {
    const factory = globalThis.indexedDB as IDBFactory | undefined;
    if (factory !== undefined) return factory;
    throw new BlockError(
      'ENOTSUP',
      'idb: there is no IndexedDB here. The memory driver works everywhere, without keeping anything',
    );
  },
  has: hasDatabase,
  range: (first, last) => globalThis.IDBKeyRange.bound(first, last),
  locks(): OpfsLocks | undefined {
    return (globalThis.navigator as Partial<Navigator> | undefined)?.locks;
  },
};
