// localStorage, or the same for as long as the page lives where a browser denies it: small notes whose
// loss costs a warning or an entry in a list.

export type NoteStorage = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

export const pageStorage: NoteStorage = openStorage();

function openStorage(): NoteStorage {
  try {
    const storage = window.localStorage;
    // Some browsers give it out and then refuse each call.
    storage.getItem('diskplane');
    return storage;
  } catch {
    const notes = new Map<string, string>();
    return {
      getItem: (key) => notes.get(key) ?? null,
      setItem: (key, value) => void notes.set(key, value),
      removeItem: (key) => void notes.delete(key),
    };
  }
}
