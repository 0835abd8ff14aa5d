// `window.diskplane`: the page's inside, for end-to-end tests and for the curious at the console.
// Beside it, tests go by `data-testid` of the main elements and by `data-state` of the body
// (loading | booting | running | off | error). Saving goes through `showSaveFilePicker` where it is;
// a test that wants a download event deletes that function first.

import type { DiskStats, Disk } from '../index.ts';
import type { Machine } from './machine/machine.ts';
import type { SerialTerminal } from './views/terminal.ts';
import type { Workbench } from './workbench.ts';

export interface WorkbenchHooks {
  /** The open disk; undefined while there is none. */
  readonly disk: Disk | undefined;
  /** The v86 instance. */
  readonly emulator: Machine['emulator'] | undefined;
  readonly machine: Machine | undefined;
  /** What `attachVirtioBlk` answered: transport, reason, stats(). */
  readonly attachment: Machine['attachment'] | undefined;
  /** What the guest said on its serial line, without escape sequences. */
  readonly serialText: string;
  /** What the terminal shows. */
  readonly terminalText: string;
  /** Counts of the graph and of the device. */
  stats(): Promise<
    | { readonly disk: DiskStats; readonly device: ReturnType<Machine['attachment']['stats']> }
    | undefined
  >;
}

export function installTestHooks(workbench: Workbench, terminal: SerialTerminal): void {
  const hooks: WorkbenchHooks = {
    get disk() {
      return workbench.session?.disk;
    },
    get emulator() {
      return workbench.session?.machine.emulator;
    },
    get machine() {
      return workbench.session?.machine;
    },
    get attachment() {
      return workbench.session?.machine.attachment;
    },
    get serialText() {
      return workbench.session?.machine.serial.text ?? '';
    },
    get terminalText() {
      return terminal.text;
    },
    async stats() {
      const session = workbench.session;
      if (session === undefined) return undefined;
      return { disk: await session.disk.stats(), device: session.machine.attachment.stats() };
    },
  };
  Object.assign(window, { diskplane: hooks });
}
