// The origin's private file system, as far as a benchmark tidies it up and looks at it.

/** Removes a file; nothing happens where there is none. */
export async function removeFile(path: string): Promise<void> {
  const root = await navigator.storage.getDirectory();
  await root.removeEntry(path).catch((error: unknown) => {
    if (!(error instanceof DOMException) || error.name !== 'NotFoundError') throw error;
  });
}
