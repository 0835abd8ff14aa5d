// What there is to boot, in the end: a disk to open and what the emulator starts from. Sources make
// one: the Linux guest of this project, its embedded guest, and images of the user's own.

import type { BlockdevOptions, IOThread } from '../../index.ts';
import type { GuestTalk } from '../machine/guest-shell.ts';
import type { StepName } from '../page-state.ts';
import type { DiskFile } from './disk-file.ts';

/** A kernel that the emulator loads itself; without one, SeaBIOS boots from the disk. */
export interface KernelFiles {
  readonly image: ArrayBuffer;
  readonly initrd: ArrayBuffer;
  readonly cmdline: string;
}

export interface BootPlan {
  /** For people: "Linux guest". */
  readonly title: string;
  readonly blockdev: BlockdevOptions;
  /** The IOThread that has to open it; undefined: one of its own. */
  readonly thread: IOThread | undefined;
  readonly memoryBytes: number;
  readonly kernel: KernelFiles | undefined;
  /** How to talk to the guest on its serial line; undefined where nobody knows it: it has a screen. */
  readonly talk: GuestTalk | undefined;
  /** For people: why this boots and not something else. */
  readonly remark: string | undefined;
  /** Where writes go. */
  readonly writesTo: DiskFile;
  /** Whether that is an overlay, and a reset brings back what was there before the guest wrote. */
  readonly overlay: boolean;
  /** Name under which that file is downloaded. */
  readonly fileName: string;
}

/** Tells how far a step is; `progress` is in `[0, 1]`. */
export type ReportStep = (
  name: StepName,
  state: 'active' | 'done',
  words: string,
  progress?: number,
) => void;

/** What is going to be done with a plan: a machine that goes on from a saved state needs no kernel. */
export type BootKind = 'boot' | 'resume';

export interface BootSource {
  readonly title: string;
  /** Gets all that booting needs. Throws BlockError. */
  prepare(report: ReportStep, signal: AbortSignal, kind: BootKind): Promise<BootPlan>;
  /** Forgets what the guest wrote; its disk must be closed. */
  reset(): Promise<void>;
}
