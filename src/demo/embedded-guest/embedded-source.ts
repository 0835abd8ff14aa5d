// The embedded guest as something to boot: its disk is made here, put into OPFS, and never written
// again; what the guest writes goes to a qcow2 overlay beside it. Needs no server.

import type { BootPlan, BootSource, ReportStep } from '../boot/boot-plan.ts';
import { copyInto, fileLength, readStart } from '../files/opfs-files.ts';
import { OverlayFile } from '../boot/overlay-file.ts';
import { EMBEDDED_TALK } from './embedded-talk.ts';

const MEMORY_BYTES: number = 32 * 1024 * 1024;

export class EmbeddedSource implements BootSource {
  readonly title = 'Embedded guest';
  readonly #disk: string;
  readonly #overlay: OverlayFile;

  /** `disk`: name of the disk, so that one origin can hold several. */
  constructor(disk: string) {
    this.#disk = `${disk}-embedded`;
    this.#overlay = new OverlayFile(`diskplane/${this.#disk}.qcow2`);
  }

  async prepare(report: ReportStep, signal: AbortSignal): Promise<BootPlan> {
    report('files', 'active', 'Assembling the boot program');
    const { embeddedDiskImage } = await import('./disk-image.ts');
    const image = embeddedDiskImage();
    report('files', 'done', 'A boot program of this page, and SeaBIOS');
    report('disk', 'active', 'Looking for the overlay');
    const identity = await sha256(image);
    // Each version of the program has a file of its own: an older one may lie below another overlay.
    const name = `embedded-${identity.slice(0, 16)}.img`;
    const path = `diskplane/images/${name}`;
    const how = await this.#overlay.ensure(
      { url: name, format: 'raw', length: image.length, identity },
      signal,
    );
    if (!(await holds(path, image))) await copyInto(path, new Blob([image]), { signal });
    report('disk', 'active', how === 'made' ? 'A new overlay, empty' : 'Your overlay from before');
    return {
      title: this.title,
      blockdev: {
        driver: 'qcow2',
        'node-name': 'overlay',
        file: { driver: 'opfs', 'node-name': 'overlay-file', path: this.#overlay.path },
        backing: {
          driver: 'raw',
          'node-name': 'program',
          file: { driver: 'opfs', 'node-name': 'program-file', path },
        },
      },
      memoryBytes: MEMORY_BYTES,
      kernel: undefined,
      talk: EMBEDDED_TALK,
      remark: undefined,
      writesTo: this.#overlay.path,
      downloadName: `${this.#disk}.qcow2`,
      resettable: true,
    };
  }

  reset(): Promise<void> {
    return this.#overlay.remove();
  }
}

/** Whether the file is there, whole. */
async function holds(path: string, image: Uint8Array): Promise<boolean> {
  if ((await fileLength(path)) !== image.length) return false;
  const there = await readStart(path, image.length);
  return there.every((byte, at) => byte === image[at]);
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
