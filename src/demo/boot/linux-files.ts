// The files of the Linux guest (`npm run guest`) where the page is served: kernel, initrd and the
// manifest that says what they are.

import { BlockError } from '../../block/block-error.ts';
import { formatBytes } from '../format-units.ts';
import type { KernelFiles, ReportStep } from './boot-plan.ts';
import { fetchBytes, fetchJson } from './fetch-files.ts';

/** The part of guest.json that is needed here. */
export interface GuestManifest {
  readonly kernel: string;
  readonly memoryMiB: number;
  readonly cmdline: string;
  readonly files: Readonly<
    Record<string, { readonly bytes: number; readonly sha256: string } | undefined>
  >;
}

const KERNEL = 'vmlinux.bin';
const INITRD = 'initrd.gz';
/** Image of the guest's root disk. */
export const ROOT_IMAGE = 'rootfs.img';

export class LinuxFiles {
  /** URL of the folder that holds guest.json, with a slash at its end. */
  readonly base: string;

  constructor(base: string) {
    this.base = base;
  }

  /** Whether a guest was built where this page is served. Throws BlockError where nobody can tell. */
  async exists(signal: AbortSignal): Promise<boolean> {
    try {
      await fetchJson(`${this.base}guest.json`, signal);
      return true;
    } catch (error) {
      if (error instanceof BlockError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  /** Throws BlockError, ENOENT where no guest was built. */
  async manifest(signal: AbortSignal): Promise<GuestManifest> {
    const manifest = (await fetchJson(`${this.base}guest.json`, signal)) as GuestManifest;
    for (const name of [KERNEL, INITRD, ROOT_IMAGE]) {
      if (manifest.files?.[name] === undefined) {
        throw new BlockError('ENOENT', `guest.json names no ${name}`);
      }
    }
    return manifest;
  }

  /** Fetches what the emulator starts from, with progress. */
  async kernel(
    manifest: GuestManifest,
    cmdline: string,
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
      [KERNEL, INITRD].map((name) => fetchBytes(this.base + name, { signal, onBytes })),
    );
    report('files', 'done', `Kernel ${manifest.kernel}, ${formatBytes(total)}`);
    return { image: image!, initrd: initrd!, cmdline };
  }
}
