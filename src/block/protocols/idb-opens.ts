// Whether a database is there, asked of Firefox before 126, which lists none.

/** Opens it, and gives up where that would make it. Rejects with what IndexedDB says. */
export function opens(factory: IDBFactory, database: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const request = factory.open(database);
    let missing = false;
    request.onupgradeneeded = (): void => {
      missing = true;
      request.transaction!.abort();
    };
    request.onsuccess = (): void => {
      request.result.close();
      resolve(true);
    };
    request.onerror = (event): void => {
      event.preventDefault();
      if (missing) resolve(false);
      else reject(request.error!);
    };
  });
}
