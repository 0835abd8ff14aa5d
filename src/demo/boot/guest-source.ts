// The Linux guest of this project: kernel and initrd fetched whole, the root disk a qcow2 overlay over
// an image that is fetched by ranges as the guest reads it.

import { LINUX_TALK } from '../machine/guest-shell.ts';
import type { PageParameters } from '../page-parameters.ts';
import type { BootKind, BootPlan, BootSource, ReportStep } from './boot-plan.ts';
import { diskFile } from './disk-file.ts';
import type { StoreKind } from './store-kind.ts';
import { LinuxFiles, ROOT_IMAGE } from './linux-files.ts';
import type { GuestManifest } from './linux-files.ts';
import { OverlayFile } from './overlay-file.ts';

export class GuestSource implements BootSource {
  readonly title = 'Linux guest';
  readonly #parameters: PageParameters;
  readonly #linux: LinuxFiles;
  readonly #overlay: OverlayFile;

  constructor(parameters: PageParameters, linux: LinuxFiles, store: StoreKind) {
    this.#parameters = parameters;
    this.#linux = linux;
    this.#overlay = new OverlayFile(diskFile(store, `diskplane/${parameters.disk}.qcow2`));
  }

  exists(signal: AbortSignal): Promise<boolean> {
    return this.#linux.exists(signal);
  }

  async prepare(report: ReportStep, signal: AbortSignal, kind: BootKind): Promise<BootPlan> {
    report('files', 'active', 'Looking for the guest');
    const manifest = await this.#linux.manifest(signal);
    const [kernel, url] = await Promise.all([
      kind === 'resume'
        ? undefined
        : this.#linux.kernel(manifest, this.#cmdline(manifest), report, signal),
      this.#ensureOverlay(manifest, report, signal),
    ]);
    if (kind === 'resume') report('files', 'done', 'No kernel needed: the state goes on');
    const { file, thread } = await this.#overlay.file.reference('overlay-file');
    return {
      title: this.title,
      blockdev: {
        driver: 'qcow2',
        'node-name': 'overlay',
        file,
        backing: {
          driver: 'raw',
          'node-name': 'root-image',
          file: { driver: 'http', 'node-name': 'root-image-server', url },
        },
      },
      thread,
      memoryBytes: manifest.memoryMiB * 1024 * 1024,
      kernel,
      talk: LINUX_TALK,
      remark: undefined,
      writesTo: this.#overlay.file,
      overlay: true,
      fileName: `${this.#parameters.disk}.qcow2`,
    };
  }

  reset(): Promise<void> {
    return this.#overlay.remove();
  }

  #cmdline({ cmdline }: GuestManifest): string {
    const root = /(^| )root=/.test(cmdline) ? '' : ' root=/dev/vda rw';
    return `${cmdline}${root} ${this.#parameters.cmdline}`.trimEnd();
  }

  /** Answers the URL of the image below. */
  async #ensureOverlay(
    manifest: GuestManifest,
    report: ReportStep,
    signal: AbortSignal,
  ): Promise<string> {
    report('disk', 'active', 'Looking for the overlay');
    const { bytes, sha256 } = manifest.files[ROOT_IMAGE]!;
    const url = this.#linux.base + ROOT_IMAGE;
    const base = { url, format: 'raw', length: bytes, identity: sha256 };
    const how = await this.#overlay.ensure(base, signal);
    report('disk', 'active', how === 'made' ? 'A new overlay, empty' : 'Your overlay from before');
    const { delayMs } = this.#parameters;
    return delayMs === 0 ? url : `${url}?delay=${delayMs}`;
  }
}
