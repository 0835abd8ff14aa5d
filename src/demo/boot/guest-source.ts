// The Linux guest of this project: kernel and initrd fetched whole, the root disk a qcow2 overlay in
// OPFS over an image that is fetched by ranges as the guest reads it.

import { BlockError } from '../../block/block-error.ts';
import type { BootPlan, BootSource, KernelFiles, ReportStep } from './boot-plan.ts';
import { fetchBytes, fetchJson } from './fetch-files.ts';
import { formatBytes } from '../format-units.ts';
import { LINUX_TALK } from '../machine/guest-shell.ts';
import { OverlayFile } from './overlay-file.ts';
import type { PageParameters } from '../page-parameters.ts';

/** The part of guest.json that is needed here. */
interface GuestManifest {
  readonly kernel: string;
  readonly memoryMiB: number;
  readonly cmdline: string;
  readonly files: Readonly<
    Record<string, { readonly bytes: number; readonly sha256: string } | undefined>
  >;
}

const KERNEL = 'vmlinux.bin';
const INITRD = 'initrd.gz';
const ROOT = 'rootfs.img';

export class GuestSource implements BootSource {
  readonly title = 'Debian guest';
  readonly #parameters: PageParameters;
  readonly #base: string;
  readonly #overlay: OverlayFile;

  /** `base`: URL of the folder that holds guest.json, with a slash at its end. */
  constructor(parameters: PageParameters, base: string) {
    this.#parameters = parameters;
    this.#base = base;
    this.#overlay = new OverlayFile(`diskplane/${parameters.disk}.qcow2`);
  }

  /** Whether a guest was built where this page is served. Throws BlockError where nobody can tell. */
  async exists(signal: AbortSignal): Promise<boolean> {
    try {
      await fetchJson(`${this.#base}guest.json`, signal);
      return true;
    } catch (error) {
      if (error instanceof BlockError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  /** Throws BlockError('ENOENT') where no guest was built. */
  async prepare(report: ReportStep, signal: AbortSignal): Promise<BootPlan> {
    report('files', 'active', 'Looking for the guest');
    const manifest = await this.#manifest(signal);
    const [kernel, rootUrl] = await Promise.all([
      this.#kernel(manifest, report, signal),
      this.#ensureOverlay(manifest, report, signal),
    ]);
    return {
      title: this.title,
      blockdev: {
        driver: 'qcow2',
        'node-name': 'overlay',
        file: { driver: 'opfs', 'node-name': 'overlay-file', path: this.#overlay.path },
        backing: {
          driver: 'raw',
          'node-name': 'root-image',
          file: { driver: 'http', 'node-name': 'root-image-server', url: rootUrl },
        },
      },
      memoryBytes: manifest.memoryMiB * 1024 * 1024,
      kernel,
      talk: LINUX_TALK,
      remark: undefined,
      writesTo: this.#overlay.path,
      downloadName: `${this.#parameters.disk}.qcow2`,
      resettable: true,
    };
  }

  reset(): Promise<void> {
    return this.#overlay.remove();
  }

  async #manifest(signal: AbortSignal): Promise<GuestManifest> {
    const manifest = (await fetchJson(`${this.#base}guest.json`, signal)) as GuestManifest;
    for (const name of [KERNEL, INITRD, ROOT]) {
      if (manifest.files?.[name] === undefined) {
        throw new BlockError('ENOENT', `guest.json names no ${name}`);
      }
    }
    return manifest;
  }

  async #kernel(
    manifest: GuestManifest,
    report: ReportStep,
    signal: AbortSignal,
  ): Promise<KernelFiles> {
    const total = manifest.files[KERNEL]!.bytes + manifest.files[INITRD]!.bytes;
    const words = (done: number): string =>
      `Kernel ${manifest.kernel}: ${formatBytes(done)} of ${formatBytes(total)}`;
    let done = 0;
    const onBytes = (bytes: number): void => {
      done += bytes;
      report('files', 'active', words(done), done / total);
    };
    const [image, initrd] = await Promise.all(
      [KERNEL, INITRD].map((name) => fetchBytes(this.#base + name, { signal, onBytes })),
    );
    report('files', 'done', `Kernel ${manifest.kernel}, ${formatBytes(total)}`);
    const more = this.#parameters.cmdline;
    const root = /(^| )root=/.test(manifest.cmdline) ? '' : ' root=/dev/vda rw';
    const cmdline = `${manifest.cmdline}${root}${more === '' ? '' : ` ${more}`}`;
    return { image: image!, initrd: initrd!, cmdline };
  }

  /** Answers the URL of the image below. */
  async #ensureOverlay(
    manifest: GuestManifest,
    report: ReportStep,
    signal: AbortSignal,
  ): Promise<string> {
    report('disk', 'active', 'Looking for the overlay');
    const { bytes, sha256 } = manifest.files[ROOT]!;
    const url = this.#base + ROOT;
    const base = { url, format: 'raw', length: bytes, identity: sha256 };
    const how = await this.#overlay.ensure(base, signal);
    report('disk', 'active', how === 'made' ? 'A new overlay, empty' : 'Your overlay from before');
    const { delayMs } = this.#parameters;
    return delayMs === 0 ? url : `${url}?delay=${delayMs}`;
  }
}
