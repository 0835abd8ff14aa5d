// Images of the user's own: one kept in this browser and written in place; one at a URL or in a file
// on the device, which stays as it is while writes go to an overlay.

import { BlockError } from '../../block/block-error.ts';
import { openDisk } from '../../index.ts';
import type { BlockdevOptions, IOThread } from '../../index.ts';
import type { BootPlan, BootSource, ReportStep } from './boot-plan.ts';
import { diskFile } from './disk-file.ts';
import type { DiskFile } from './disk-file.ts';
import { OverlayFile } from './overlay-file.ts';
import type { StoreKind } from './store-kind.ts';

const MEMORY_BYTES = 256 * 1024 * 1024;
const IMAGES = 'diskplane/images';

export class StoredImageSource implements BootSource {
  readonly title: string;
  readonly #file: DiskFile;

  constructor(store: StoreKind, name: string) {
    this.#file = diskFile(store, name);
    this.title = nameOf(name);
  }

  async prepare(report: ReportStep, signal: AbortSignal): Promise<BootPlan> {
    report('disk', 'active', `Looking at ${this.title}`);
    if (!(await this.#file.exists())) {
      throw new BlockError('ENOENT', `'${this.#file.name}' is not in this browser any more`);
    }
    const { file, thread } = await this.#file.reference('image-file');
    const { format } = await probe(file, thread, signal);
    return {
      ...BY_BIOS,
      title: this.title,
      blockdev: { driver: format, 'node-name': 'image', file },
      thread,
      writesTo: this.#file,
      overlay: false,
      fileName: this.title,
    };
  }

  reset(): Promise<void> {
    return this.#file.remove();
  }
}

/** An image that is only read, below an overlay. */
abstract class OverlaidImageSource implements BootSource {
  abstract readonly title: string;
  readonly #store: StoreKind;

  constructor(store: StoreKind) {
    this.#store = store;
  }

  /** Options of the node that holds the image's bytes. */
  protected abstract image(): BlockdevOptions;
  /** What sets this image apart from others; with `version`, also from later versions of itself. */
  protected abstract readonly key: string;
  protected abstract readonly version: string | undefined;

  async prepare(report: ReportStep, signal: AbortSignal): Promise<BootPlan> {
    report('disk', 'active', `Looking at ${this.title}`);
    const image = { 'node-name': 'image-source', ...this.image() };
    const { format, length, etag } = await probe(image, undefined, signal);
    const overlay = await this.#overlay();
    const identity = this.version ?? etag;
    const how = await overlay.ensure({ url: this.key, format, length, identity }, signal);
    report('disk', 'active', how === 'made' ? 'A new overlay, empty' : 'Your overlay from before');
    const { file, thread } = await overlay.file.reference('overlay-file');
    return {
      ...BY_BIOS,
      title: this.title,
      blockdev: {
        driver: 'qcow2',
        'node-name': 'overlay',
        file,
        backing: { driver: format, 'node-name': 'image', file: image },
      },
      thread,
      writesTo: overlay.file,
      overlay: true,
      fileName: `${this.title}.overlay.qcow2`,
    };
  }

  async reset(): Promise<void> {
    await (await this.#overlay()).remove();
  }

  /** One overlay for each image, under a name made from its key. */
  async #overlay(): Promise<OverlayFile> {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(this.key));
    const hex = [...new Uint8Array(digest, 0, 8)].map((byte) => byte.toString(16).padStart(2, '0'));
    return new OverlayFile(diskFile(this.#store, `${IMAGES}/over-${hex.join('')}.qcow2`));
  }
}

export class RemoteImageSource extends OverlaidImageSource {
  readonly title: string;
  protected readonly key: string;
  protected readonly version = undefined;

  constructor(url: string, store: StoreKind) {
    super(store);
    this.key = url;
    this.title = nameOf(new URL(url).pathname) || 'image';
  }
  protected image(): BlockdevOptions {
    return { driver: 'http', url: this.key };
  }
}

export class LocalFileSource extends OverlaidImageSource {
  readonly title: string;
  protected readonly key: string;
  protected readonly version: string | undefined;
  readonly #file: File | undefined;

  /** `file` is undefined where the user has not given it in this visit. */
  constructor(name: string, file: File | undefined, store: StoreKind) {
    super(store);
    this.title = name;
    this.key = `file:${name}`;
    this.#file = file;
    this.version = file && `${file.size} ${file.lastModified}`;
  }
  protected image(): BlockdevOptions {
    if (this.#file !== undefined) return { driver: 'blob', blob: this.#file };
    throw new BlockError('ENOMEDIUM', `the page was loaded anew and has not got '${this.title}'`);
  }
}

/** A machine that starts from the disk and has a screen. */
const BY_BIOS = {
  memoryBytes: MEMORY_BYTES,
  kernel: undefined,
  talk: undefined,
  remark: undefined,
} as const;

/** Opens an image by itself, which also says best what is wrong with it. */
async function probe(
  file: BlockdevOptions | string,
  thread: IOThread | undefined,
  signal: AbortSignal,
): Promise<{ format: string; length: number; etag: string | undefined }> {
  const extra = thread === undefined ? {} : { thread };
  await using disk = await openDisk({ file }, { readOnly: true, signal, ...extra });
  const { nodes } = await disk.stats();
  const root = nodes.find((node) => node.nodeName === disk.rootNode)!;
  const etag = nodes.map((node) => node.info['etag']).find((tag) => typeof tag === 'string');
  return { format: root.driver, length: root.length, etag };
}

function nameOf(path: string): string {
  return path.split('/').at(-1)!;
}
