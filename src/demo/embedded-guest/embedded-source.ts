// The embedded guest as something to boot: its disk is assembled here and never written; what the
// guest writes goes to a qcow2 overlay above it. Needs no server.

import type { BootPlan, BootSource, ReportStep } from '../boot/boot-plan.ts';
import { diskFile } from '../boot/disk-file.ts';
import type { StoreKind } from '../boot/store-kind.ts';
import { OverlayFile } from '../boot/overlay-file.ts';
import { EMBEDDED_TALK } from './embedded-talk.ts';

const MEMORY_BYTES: number = 32 * 1024 * 1024;

export class EmbeddedSource implements BootSource {
  readonly title = 'Embedded guest';
  readonly #name: string;
  readonly #overlay: OverlayFile;

  /** `disk`: name of the disk, so that one origin can hold several. */
  constructor(disk: string, store: StoreKind) {
    this.#name = `${disk}-embedded`;
    this.#overlay = new OverlayFile(diskFile(store, `diskplane/${this.#name}.qcow2`));
  }

  async prepare(report: ReportStep, signal: AbortSignal): Promise<BootPlan> {
    report('files', 'active', 'Assembling the boot program');
    const { embeddedDiskImage } = await import('./disk-image.ts');
    const image = embeddedDiskImage();
    report('files', 'done', 'A boot program of this page, and SeaBIOS');
    report('disk', 'active', 'Looking for the overlay');
    const identity = await sha256(image);
    const base = { url: 'embedded.img', format: 'raw', length: image.length, identity };
    const how = await this.#overlay.ensure(base, signal);
    report('disk', 'active', how === 'made' ? 'A new overlay, empty' : 'Your overlay from before');
    const { file, thread } = await this.#overlay.file.reference('overlay-file');
    return {
      title: this.title,
      blockdev: {
        driver: 'qcow2',
        'node-name': 'overlay',
        file,
        backing: {
          driver: 'raw',
          'node-name': 'program',
          file: { driver: 'blob', 'node-name': 'program-file', blob: datedFile(image, identity) },
        },
      },
      thread,
      memoryBytes: MEMORY_BYTES,
      kernel: undefined,
      talk: EMBEDDED_TALK,
      remark: undefined,
      writesTo: this.#overlay.file,
      overlay: true,
      fileName: `${this.#name}.qcow2`,
    };
  }

  reset(): Promise<void> {
    return this.#overlay.remove();
  }
}

/**
 * The image as a file with a date made from its checksum: what the blob driver goes by to tell one
 * version from another, so that saved states know their disk.
 */
function datedFile(image: Uint8Array<ArrayBuffer>, checksum: string): File {
  const lastModified = Number.parseInt(checksum.slice(0, 10), 16);
  return new File([image], 'embedded.img', { lastModified });
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
