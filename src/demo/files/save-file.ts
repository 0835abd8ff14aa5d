// Saves a stream of bytes as a file on the user's device: chunk by chunk where the browser can write
// files, in one Blob where it cannot.

import { after } from '../page-clock.ts';

const REVOKE_MS = 60_000;

/** A file that the user chose. */
export interface SaveTarget {
  write(chunk: Uint8Array<ArrayBuffer>): Promise<void>;
  /** The file is whole. */
  finish(): Promise<void>;
  /** Leaves nothing behind. */
  discard(): Promise<void>;
}

interface SavePicker {
  showSaveFilePicker(options: { suggestedName: string }): Promise<FileSystemFileHandle>;
}

/**
 * Asks the user where to; call it first thing in a click, since browsers want that. Answers undefined
 * when the user changes their mind.
 */
export async function chooseSaveTarget(name: string): Promise<SaveTarget | undefined> {
  if (!('showSaveFilePicker' in window)) return new BlobTarget(name);
  try {
    const picker = window as unknown as SavePicker;
    const handle = await picker.showSaveFilePicker({ suggestedName: name });
    return new StreamTarget(await handle.createWritable());
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return undefined;
    throw error;
  }
}

class StreamTarget implements SaveTarget {
  readonly #stream: FileSystemWritableFileStream;

  constructor(stream: FileSystemWritableFileStream) {
    this.#stream = stream;
  }
  write(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#stream.write(chunk);
  }
  finish(): Promise<void> {
    return this.#stream.close();
  }
  discard(): Promise<void> {
    return this.#stream.abort();
  }
}

class BlobTarget implements SaveTarget {
  readonly #name: string;
  readonly #chunks: Uint8Array<ArrayBuffer>[] = [];

  constructor(name: string) {
    this.#name = name;
  }
  async write(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#chunks.push(chunk);
  }
  async finish(): Promise<void> {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob(this.#chunks, { type: 'application/octet-stream' }));
    link.download = this.#name;
    link.click();
    // Some browsers take the Blob only after the click.
    after(REVOKE_MS, () => URL.revokeObjectURL(link.href));
    await this.discard();
  }
  async discard(): Promise<void> {
    this.#chunks.length = 0;
  }
}
