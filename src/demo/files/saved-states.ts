// Saved states of machines, kept in OPFS one file each: saves the machine that runs, lists them, and
// goes back to one. A state whose disk has changed since is refused with the reason; then the copy of
// the disk that is in it can be put back first.

import { BlockError } from '../../block/block-error.ts';
import { baseNote, setBaseNote } from '../boot/overlay-file.ts';
import type { Selection } from '../boot/selection.ts';
import { describe } from '../explain-error.ts';
import { formatBytes, formatProgress } from '../format-units.ts';
import type { Progress } from '../../index.ts';
import type { Session } from '../machine/session.ts';
import { wallClockMs } from '../page-clock.ts';
import type { PageState } from '../page-state.ts';
import type { LogLevel, Workbench } from '../workbench.ts';
import { fillDiskFile } from './import-image.ts';
import { listFiles, openWritable, readFile, removeFile } from './opfs-files.ts';
import { encodeDescription, readBundle } from './state-bundle.ts';
import type { StateBundle } from './state-bundle.ts';

export interface SavedStatesOptions {
  readonly state: PageState;
  readonly selection: Selection;
  readonly workbench: Workbench;
  readonly log: (level: LogLevel, words: string) => void;
}

export interface SavedState {
  /** Path in OPFS. */
  readonly path: string;
  readonly file: File;
  readonly bundle: StateBundle;
}

const FOLDER = 'diskplane/states';
/** How much of the serial line is kept, characters. */
const SERIAL_TAIL = 16 * 1024;

export class SavedStates {
  readonly #options: SavedStatesOptions;
  /** What was to be restored last: a way out may need it. */
  #wanted: StateBundle | undefined;

  constructor(options: SavedStatesOptions) {
    this.#options = options;
  }

  /** All there are, the latest first. What cannot be read is left out. */
  async list(): Promise<SavedState[]> {
    const states: SavedState[] = [];
    for (const path of await listFiles(FOLDER)) {
      const file = await readFile(path);
      const bundle = file && (await readBundle(file, path).catch(() => undefined));
      if (file !== undefined && bundle !== undefined) states.push({ path, file, bundle });
    }
    return states.sort((a, b) => b.bundle.description.savedAt - a.bundle.description.savedAt);
  }

  remove({ path }: SavedState): Promise<void> {
    return removeFile(path);
  }

  /** Saves the machine that runs, which stands still meanwhile. Problems go to the log. */
  async save(): Promise<void> {
    const { workbench, state, log } = this.#options;
    const { session } = workbench;
    if (session === undefined || state.busy !== undefined) return;
    const stop = new AbortController();
    const cancel = (): void => stop.abort();
    state.setBusy('Saving the state', cancel);
    await session.machine.pause();
    try {
      const bytes = await this.#write(session, stop.signal, (words) =>
        state.setBusy(words, cancel),
      );
      log('good', `Saved the state of ${session.plan.title}, ${formatBytes(bytes)}`);
    } catch (error) {
      if (stop.signal.aborted) log('info', 'Saving the state was canceled');
      else log('error', `The state could not be saved: ${describe(error)}`);
    } finally {
      if (workbench.session === session) await session.machine.run();
      state.setBusy(undefined);
    }
  }

  async #write(
    { machine, disk, plan }: Session,
    signal: AbortSignal,
    busy: (words: string) => void,
  ): Promise<number> {
    const { guest, store, image, disk: name } = this.#options.selection.parameters;
    const device = await machine.attachment.save();
    const memory = await machine.emulator.save_state();
    let diskBytes = 0;
    const onProgress = (progress: Progress): void =>
      busy(`Saving the state: ${formatProgress(progress)} of the disk`);
    const path = `${FOLDER}/${wallClockMs()}.state`;
    const target = await openWritable(path);
    try {
      await target.write(memory);
      for await (const chunk of disk.exportNode({ signal, onProgress })) {
        await target.write(chunk);
        diskBytes += chunk.length;
      }
      const description = encodeDescription({
        ...{ version: 1, title: plan.title, savedAt: wallClockMs() },
        choice: { guest, store, image, disk: name },
        memoryBytes: plan.memoryBytes,
        base: baseNote(plan.writesTo),
        device,
        serialText: machine.serial.text.slice(-SERIAL_TAIL),
        machineBytes: memory.byteLength,
        diskBytes,
      });
      await target.write(description);
      await target.close();
      return memory.byteLength + diskBytes + description.length;
    } catch (error) {
      await target.abort().catch(() => {});
      await removeFile(path);
      throw error;
    }
  }

  /** Boots from a state. What runs was ended before. */
  async restore(bundle: StateBundle): Promise<void> {
    this.#wanted = bundle;
    await this.#restore(bundle, false);
  }

  /** `diskIsBack`: this page has just put the state's own copy of the disk in its place. */
  async #restore(
    { description, machine: memory }: StateBundle,
    diskIsBack: boolean,
  ): Promise<void> {
    const { workbench, selection } = this.#options;
    selection.change(description.choice);
    await workbench.start({
      kind: 'resume',
      prepare: async ({ machine, plan, disk }) => {
        if (plan.memoryBytes !== description.memoryBytes) {
          throw new BlockError(
            'EINVAL',
            `the state is of a machine with ${formatBytes(description.memoryBytes)} of memory, ` +
              `${plan.title} has ${formatBytes(plan.memoryBytes)}`,
          );
        }
        const { device } = description;
        // What has no room for its generation, in the disk or below it, has another one each time.
        const generation =
          diskIsBack && device.disk.generation.includes('open-')
            ? await disk.generation()
            : device.disk.generation;
        const fitting = { ...device, disk: { ...device.disk, generation } };
        await machine.restore(await memory.arrayBuffer(), fitting);
        machine.replay(description.serialText);
      },
      words: `${description.title} goes on from its saved state`,
    });
  }

  /** Puts the disk back as it was when the last wanted state was saved, then restores that. */
  async restoreWithDisk(): Promise<void> {
    const { workbench, state, log } = this.#options;
    const bundle = this.#wanted;
    const file = workbench.plan?.writesTo;
    if (bundle === undefined || file === undefined || state.busy !== undefined) return;
    await workbench.cutPower();
    state.setBusy('Putting the disk of that time back');
    try {
      await fillDiskFile(file, bundle.disk, {
        onProgress: (progress) =>
          state.setBusy(`Putting the disk of that time back: ${formatProgress(progress)}`),
      });
      setBaseNote(file, bundle.description.base ?? undefined);
      log('info', 'The disk is as it was when the state was saved');
    } catch (error) {
      workbench.fail(error);
      return;
    } finally {
      state.setBusy(undefined);
    }
    await this.#restore(bundle, true);
  }
}
