// What the origin may store, and whether the browser may throw it away: the page's side of what the
// opfs and idb drivers live on. In Node there is no such thing, and that is what is answered.

/** How much an origin stores. Undefined is what nobody tells. */
export interface StorageInfo {
  /** The browser keeps what is stored until a person deletes it, also when room is short. */
  readonly persisted: boolean | undefined;
  /** Bytes in use by the origin, not only by disks. Browsers blur it. */
  readonly usage: number | undefined;
  /** Bytes that the origin may use in all. No promise: the device may be full before. */
  readonly quota: number | undefined;
}

/** What is known of the origin's storage. Never rejects. */
export async function queryStorage(): Promise<StorageInfo> {
  const manager = storageManager();
  const [persisted, estimate] = await Promise.all([
    unlessRefused(() => manager?.persisted?.()),
    unlessRefused(() => manager?.estimate?.()),
  ]);
  return { persisted, usage: estimate?.usage, quota: estimate?.quota };
}

/**
 * Asks the browser to keep what the origin stores; answers whether it does from now on. Chromium
 * decides by itself; Firefox asks the person, and only in an event of theirs. Never rejects.
 */
export async function persistStorage(): Promise<boolean> {
  return (await unlessRefused(() => storageManager()?.persist?.())) ?? false;
}

function storageManager(): Partial<StorageManager> | undefined {
  return (globalThis.navigator as Partial<Navigator> | undefined)?.storage;
}

/** Undefined where the page may not even ask, as in a sandboxed frame. */
async function unlessRefused<T>(ask: () => Promise<T> | undefined): Promise<T | undefined> {
  try {
    return await ask();
  } catch {
    return undefined;
  }
}
