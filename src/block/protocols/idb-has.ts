// All that the opfs driver asks of IndexedDB before it opens a file: whether the disk lies there instead.

/** Whether a database is there; false where there is no IndexedDB. Throws what that throws. */
export async function hasDatabase(database: string): Promise<boolean> {
  const factory = globalThis.indexedDB as Partial<IDBFactory> | undefined;
  if (factory === undefined) return false;
  if (factory.databases === undefined) {
    const { opens } = await import('./idb-opens.ts');
    return opens(factory as IDBFactory, database);
  }
  return (await factory.databases()).some(({ name }) => name === database);
}
