// What there is to boot, in the end: a disk to open and what the emulator starts from. Three
// sources make one: the Linux guest of this project, its embedded guest, and an image of the user's own.

import type { BlockdevOptions } from '../../iothread/control.ts';
import type { GuestTalk } from '../machine/guest-shell.ts';
import type { StepName } from '../page-state.ts';

/** A kernel that the emulator loads itself; without one, SeaBIOS boots from the disk. */
export interface KernelFiles {
  readonly image: ArrayBuffer;
  readonly initrd: ArrayBuffer;
  readonly cmdline: string;
}

export interface BootPlan {
  /** For people: "Debian guest". */
  readonly title: string;
  readonly blockdev: BlockdevOptions;
  readonly memoryBytes: number;
  readonly kernel: KernelFiles | undefined;
  /** How to talk to the guest on its serial line; undefined where nobody knows it: it has a screen. */
  readonly talk: GuestTalk | undefined;
  /** For people: why this boots and not something else. */
  readonly remark: string | undefined;
  /** Path in OPFS of the file that writes go to. */
  readonly writesTo: string;
  /** Name under which that file is downloaded. */
  readonly downloadName: string;
  /** Whether `reset` brings back what was there before the guest wrote. */
  readonly resettable: boolean;
}

/** Tells how far a step is; `progress` is in `[0, 1]`. */
export type ReportStep = (
  name: StepName,
  state: 'active' | 'done',
  words: string,
  progress?: number,
) => void;

export interface BootSource {
  readonly title: string;
  /** Gets all that booting needs. Throws BlockError. */
  prepare(report: ReportStep, signal: AbortSignal): Promise<BootPlan>;
  /** Forgets what the guest wrote; its disk must be closed. */
  reset(): Promise<void>;
}
