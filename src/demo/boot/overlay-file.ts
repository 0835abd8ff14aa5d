// A qcow2 overlay in OPFS, with a note beside it of what image it lies over. An overlay over an image
// that has changed is a broken file system, so that is noticed before anything is opened.

import { BlockError } from '../../block/block-error.ts';
import { createDisk } from '../../index.ts';
import { fileLength, readText, removeFile, writeText } from '../files/opfs-files.ts';

/** The image below. */
export interface OverlayBase {
  readonly url: string;
  readonly format: string;
  /** Bytes: length of the disk that it holds. */
  readonly length: number;
  /** Changes whenever the image does: a checksum, an entity tag. Undefined where nobody knows. */
  readonly identity: string | undefined;
}

export class OverlayFile {
  /** Path in OPFS. */
  readonly path: string;
  readonly #notePath: string;

  constructor(path: string) {
    this.path = path;
    this.#notePath = `${path}.json`;
  }

  /**
   * Makes the overlay unless it is there. Answers whether it was made now. Throws
   * BlockError('ESTALE') where it is there but lies over another image.
   */
  async ensure(base: OverlayBase, signal: AbortSignal): Promise<'made' | 'kept'> {
    const length = await fileLength(this.path);
    // An empty file is a creation that was cut short before the header.
    if (length !== undefined && length > 0) {
      const note = await this.#note();
      if (note !== undefined && base.identity !== undefined && note !== base.identity) {
        throw new BlockError(
          'ESTALE',
          `the overlay '${this.path}' lies over an older version of ${base.url}`,
        );
      }
      return 'kept';
    }
    if (base.identity !== undefined) {
      await writeText(this.#notePath, JSON.stringify({ base: base.identity }));
    }
    await createDisk(
      {
        driver: 'qcow2',
        size: base.length,
        file: { driver: 'opfs', path: this.path },
        'backing-file': base.url,
        'backing-fmt': base.format,
      },
      { signal },
    );
    return 'made';
  }

  /** Removes it. Throws BlockError('EBUSY') while it is open somewhere. */
  async remove(): Promise<void> {
    await removeFile(this.path);
    await removeFile(this.#notePath);
  }

  /** Identity of the image that it was made over. */
  async #note(): Promise<string | undefined> {
    const text = await readText(this.#notePath);
    if (text === undefined) return undefined;
    try {
      const note = JSON.parse(text) as { base?: unknown };
      return typeof note.base === 'string' ? note.base : undefined;
    } catch {
      return undefined;
    }
  }
}
