// An image of the user's own as /dev/vda of this project's Linux, which starts from its initrd: to look
// into a disk that does not start by itself, or to put a file system on an empty one.

import { LINUX_SHELL_TALK } from '../machine/guest-shell.ts';
import type { BootKind, BootPlan, BootSource, ReportStep } from './boot-plan.ts';
import type { LinuxFiles } from './linux-files.ts';

export class WithLinux implements BootSource {
  readonly #disk: BootSource;
  readonly #linux: LinuxFiles;

  constructor(disk: BootSource, linux: LinuxFiles) {
    this.#disk = disk;
    this.#linux = linux;
  }

  get title(): string {
    return this.#disk.title;
  }

  async prepare(report: ReportStep, signal: AbortSignal, kind: BootKind): Promise<BootPlan> {
    report('files', 'active', 'Looking for the guest');
    const manifest = await this.#linux.manifest(signal);
    const cmdline = manifest.cmdline.replace(/(^| )root=\S+( rw| ro)?/, '');
    const [plan, kernel] = await Promise.all([
      this.#disk.prepare((step, ...rest) => step === 'disk' && report(step, ...rest), signal, kind),
      kind === 'resume' ? undefined : this.#linux.kernel(manifest, cmdline, report, signal),
    ]);
    const memoryBytes = manifest.memoryMiB * 1024 * 1024;
    return { ...plan, kernel, memoryBytes, talk: LINUX_SHELL_TALK };
  }

  reset(): Promise<void> {
    return this.#disk.reset();
  }
}
