// A qcow2 overlay in one of the stores, with a note of what image it lies over. An overlay over an
// image that has changed is a broken file system, so that is noticed before anything is opened.

import { BlockError } from '../../block/block-error.ts';
import { createDisk } from '../../index.ts';
import { pageStorage } from '../page-storage.ts';
import type { DiskFile } from './disk-file.ts';

/** The image below. */
export interface OverlayBase {
  readonly url: string;
  readonly format: string;
  /** Bytes: length of the disk that it holds. */
  readonly length: number;
  /** Changes whenever the image does: a checksum, an entity tag. Undefined where nobody knows. */
  readonly identity: string | undefined;
}

const noteKey = ({ store, name }: DiskFile): string => `diskplane:base-of:${store}:${name}`;

/** Identity of the image that an overlay lies over, as far as that was noted. */
export function baseNote(overlay: DiskFile): string | null {
  return pageStorage.getItem(noteKey(overlay));
}

/** Notes which image an overlay lies over; undefined: nobody knows. */
export function setBaseNote(overlay: DiskFile, identity: string | undefined): void {
  if (identity === undefined) pageStorage.removeItem(noteKey(overlay));
  else pageStorage.setItem(noteKey(overlay), identity);
}

export class OverlayFile {
  readonly file: DiskFile;

  constructor(file: DiskFile) {
    this.file = file;
  }

  /**
   * Makes the overlay unless it is there. Answers whether it was made now. Throws
   * BlockError('ESTALE') where it is there but lies over another image.
   */
  async ensure(base: OverlayBase, signal: AbortSignal): Promise<'made' | 'kept'> {
    if (await this.file.exists()) {
      const note = baseNote(this.file);
      if (note !== null && base.identity !== undefined && note !== base.identity) {
        throw new BlockError(
          'ESTALE',
          `the overlay '${this.file.name}' lies over an older version of ${base.url}`,
        );
      }
      return 'kept';
    }
    setBaseNote(this.file, base.identity);
    const { file, thread } = await this.file.reference('overlay-file');
    await createDisk(
      {
        driver: 'qcow2',
        size: base.length,
        file,
        'backing-file': base.url,
        'backing-fmt': base.format,
      },
      { signal, ...(thread === undefined ? {} : { thread }) },
    );
    return 'made';
  }

  /** Removes it. Throws BlockError('EBUSY') while it is open somewhere. */
  async remove(): Promise<void> {
    await this.file.remove();
    setBaseNote(this.file, undefined);
  }
}
