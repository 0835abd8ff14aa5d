// The places that a page can write to.

/** `opfs` is a file of the origin, or IndexedDB where a browser cannot write to files from a worker. */
export type StoreKind = 'opfs' | 'idb' | 'memory';

/** The default first. */
export const STORE_KINDS: readonly StoreKind[] = ['opfs', 'idb', 'memory'];

/** For people. */
export const STORE_NAMES: Readonly<Record<StoreKind, string>> = {
  opfs: 'OPFS',
  idb: 'IndexedDB',
  memory: 'memory',
};
