// An image of the user's own, booted by SeaBIOS: a URL, over which writes go to an overlay in OPFS,
// or a file that was copied into OPFS before and is written in place.

import { BlockError } from '../../block/block-error.ts';
import { openDisk } from '../../index.ts';
import type { BootPlan, BootSource, ReportStep } from './boot-plan.ts';
import { copyInto, fileLength, readStart, removeFile } from '../files/opfs-files.ts';
import { OverlayFile } from './overlay-file.ts';

const MEMORY_BYTES = 256 * 1024 * 1024;
const IMAGES = 'diskplane/images';
const QCOW2_MAGIC = [0x51, 0x46, 0x49, 0xfb] as const;

/** `where` is an http URL or `opfs:PATH`, as in the page's `?image=`. */
export function ownImageSource(where: string): BootSource {
  return where.startsWith('opfs:')
    ? new StoredImageSource(where.slice('opfs:'.length))
    : new RemoteImageSource(where);
}

/**
 * Copies a file of the user's into OPFS and answers its `?image=` name. Throws BlockError, ENOSPC
 * where it does not fit.
 */
export async function importImage(
  file: File,
  onProgress: (done: number, total: number) => void,
  signal: AbortSignal,
): Promise<string> {
  if (file.size === 0) throw new BlockError('EINVAL', `'${file.name}' is empty`);
  const { quota, usage } = await navigator.storage.estimate();
  if (quota !== undefined && file.size > quota - (usage ?? 0)) {
    throw new BlockError('ENOSPC', `'${file.name}' does not fit into the browser's storage`);
  }
  const name = file.name.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^\.+/, '') || 'disk.img';
  const path = `${IMAGES}/${name}`;
  await copyInto(path, file, { onProgress, signal });
  return `opfs:${path}`;
}

class StoredImageSource implements BootSource {
  readonly title: string;
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
    this.title = nameOf(path);
  }

  async prepare(report: ReportStep): Promise<BootPlan> {
    report('disk', 'active', `Looking at ${this.title}`);
    if ((await fileLength(this.#path)) === undefined) {
      throw new BlockError('ENOENT', `'${this.#path}' is not in this browser's storage`);
    }
    const start = await readStart(this.#path, QCOW2_MAGIC.length);
    const format = QCOW2_MAGIC.every((byte, at) => start[at] === byte) ? 'qcow2' : 'raw';
    report('files', 'done', 'Firmware: SeaBIOS');
    return {
      title: this.title,
      blockdev: {
        driver: format,
        'node-name': 'image',
        file: { driver: 'opfs', 'node-name': 'image-file', path: this.#path },
      },
      memoryBytes: MEMORY_BYTES,
      kernel: undefined,
      talk: undefined,
      remark: undefined,
      writesTo: this.#path,
      downloadName: this.title,
      resettable: false,
    };
  }

  reset(): Promise<void> {
    return removeFile(this.#path);
  }
}

class RemoteImageSource implements BootSource {
  readonly title: string;
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
    this.title = nameOf(new URL(url).pathname) || 'image';
  }

  async prepare(report: ReportStep, signal: AbortSignal): Promise<BootPlan> {
    report('files', 'done', 'Firmware: SeaBIOS');
    report('disk', 'active', `Looking at ${this.title}`);
    const { format, length, etag } = await this.#probe(signal);
    const overlay = await this.#overlay();
    await overlay.ensure({ url: this.#url, format, length, identity: etag }, signal);
    return {
      title: this.title,
      blockdev: {
        driver: 'qcow2',
        'node-name': 'overlay',
        file: { driver: 'opfs', 'node-name': 'overlay-file', path: overlay.path },
        backing: {
          driver: format,
          'node-name': 'image',
          file: { driver: 'http', 'node-name': 'image-server', url: this.#url },
        },
      },
      memoryBytes: MEMORY_BYTES,
      kernel: undefined,
      talk: undefined,
      remark: undefined,
      writesTo: overlay.path,
      downloadName: `${this.title}.overlay.qcow2`,
      resettable: true,
    };
  }

  async reset(): Promise<void> {
    await (await this.#overlay()).remove();
  }

  /** Opens the image by itself, which also says best what is wrong with it. */
  async #probe(
    signal: AbortSignal,
  ): Promise<{ format: string; length: number; etag: string | undefined }> {
    const disk = await openDisk(
      { file: { driver: 'http', url: this.#url } },
      { readOnly: true, signal },
    );
    try {
      const { nodes } = await disk.stats();
      const root = nodes.find((node) => node.nodeName === disk.rootNode)!;
      const etag = nodes.map((node) => node.info['etag']).find((tag) => typeof tag === 'string');
      return { format: root.driver, length: root.length, etag };
    } finally {
      await disk.close();
    }
  }

  /** One overlay for each URL, under a name made from it. */
  async #overlay(): Promise<OverlayFile> {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(this.#url));
    const hex = [...new Uint8Array(digest, 0, 8)].map((byte) => byte.toString(16).padStart(2, '0'));
    return new OverlayFile(`${IMAGES}/over-${hex.join('')}.qcow2`);
  }
}

function nameOf(path: string): string {
  return path.split('/').at(-1)!;
}
