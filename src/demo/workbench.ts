// What the page can do: start, shut down, reset, download, open an image. One thing at a time; each
// tells the page's state and its log what goes on. Draws nothing.

import { openDisk } from '../index.ts';
import type { Disk, IOThreadEvent } from '../index.ts';
import type { BootPlan, BootSource } from './boot/boot-plan.ts';
import { eventWords } from './event-words.ts';
import { explainError } from './explain-error.ts';
import type { Problem } from './explain-error.ts';
import { formatBytes } from './format-units.ts';
import { bringPrompt, powerOff, syncGuest } from './machine/guest-shell.ts';
import type { GuestTalk } from './machine/guest-shell.ts';
import { pause } from './page-clock.ts';
import type { PageState } from './page-state.ts';
import { chooseSaveTarget } from './files/save-file.ts';
import { Session } from './machine/session.ts';
import { transportName } from './machine/transport-choice.ts';
import type { Transport } from './machine/transport-choice.ts';

export type LogLevel = 'info' | 'good' | 'warning' | 'error';

export interface WorkbenchOptions {
  readonly state: PageState;
  readonly source: BootSource;
  readonly ownImage: boolean;
  readonly transport: Transport['kind'];
  readonly firmware: string;
  readonly screen: HTMLElement;
  readonly log: (level: LogLevel, words: string) => void;
  readonly onSerial: (bytes: Uint8Array) => void;
  /** A session began, or the one there ended. */
  readonly onSession: (session: Session | undefined) => void;
  /** Something stops the page; undefined: it is over. */
  readonly onProblem: (problem: Problem | undefined) => void;
}

const WAITING = {
  files: 'Guest files',
  disk: 'Disk',
  emulator: 'Emulator',
  guest: 'Operating system',
} as const;

type WriteChunk = (chunk: Uint8Array<ArrayBuffer>) => Promise<void>;
type ExportOptions = NonNullable<Parameters<Disk['exportNode']>[0]>;

/** Streams a file of OPFS that no disk has open. */
async function saveFile(path: string, write: WriteChunk, options: ExportOptions): Promise<void> {
  await using disk = await openDisk({ driver: 'opfs', path }, { readOnly: true });
  for await (const chunk of disk.exportNode(options)) await write(chunk);
}

/** From the guest's last word to its CPU standing still, milliseconds. */
const HALT_MS = 1500;

export class Workbench {
  readonly #options: WorkbenchOptions;
  #session: Session | undefined;
  #lastPlan: BootPlan | undefined;
  #starting: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;

  constructor(options: WorkbenchOptions) {
    this.#options = options;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  /** Boots. Does nothing while something runs. Problems are shown, not thrown. */
  async start(): Promise<void> {
    if (this.#session !== undefined || this.#starting !== undefined) return;
    const stop = new AbortController();
    const done = this.#start(stop.signal).finally(() => (this.#starting = undefined));
    this.#starting = { stop, done };
    await done;
  }

  async #start(signal: AbortSignal): Promise<void> {
    const { state, log } = this.#options;
    this.#options.onProblem(undefined);
    state.resetSteps(WAITING);
    state.set('loading', 'Getting ready');
    let preparing = true;
    try {
      const session = await Session.open(
        {
          ...this.#options,
          report: (...step) => state.step(...step),
          onEvent: (event) => this.#onEvent(event),
          onPrepared: () => (preparing = false),
        },
        signal,
      );
      this.#session = session;
      this.#lastPlan = session.plan;
      const { transport } = session.machine.attachment;
      const { title, remark, talk } = session.plan;
      if (remark !== undefined) log('info', remark);
      log('info', `Booting ${title} by ${transportName(transport)}`);
      this.#options.onSession(session);
      state.step('guest', 'active', 'Booting');
      state.set('booting', `Booting ${title}`);
      await session.machine.run();
      if (talk === undefined) this.#running('The machine runs');
      else this.#follow(session, talk);
    } catch (error) {
      if (signal.aborted) return;
      await this.#drop();
      this.#fail(error, preparing);
    }
  }

  /**
   * Shuts the guest down as its owner would, then flushes and closes the disk. Answers false, and
   * has done nothing, where the guest does not take commands now.
   */
  async shutDown(): Promise<boolean> {
    const session = this.#session;
    if (session === undefined || this.#options.state.busy !== undefined) return true;
    const { state, log } = this.#options;
    const { serial } = session.machine;
    const { talk } = session.plan;
    if (talk === undefined || state.phase !== 'running' || !(await bringPrompt(serial)))
      return false;
    state.setBusy('The guest shuts down');
    log('info', 'Asked the guest to power off');
    try {
      const off = await powerOff(serial, talk);
      if (off) await this.#afterPowerOff(session, 'The guest has shut down');
      else log('warning', 'The guest did not power off in time');
      return off;
    } finally {
      state.setBusy(undefined);
    }
  }

  /** Ends the machine as a power cut does; what the guest flushed is kept. */
  async cutPower(): Promise<void> {
    this.#starting?.stop.abort(new DOMException('the power was cut', 'AbortError'));
    await this.#starting?.done;
    const session = this.#session;
    if (session === undefined) {
      this.#options.state.set('off', 'Off');
      return;
    }
    await this.#close(session, 'The power was cut');
  }

  /** Throws away what the guest wrote, and boots again. */
  async reset(): Promise<void> {
    const { state, log, source } = this.#options;
    await this.cutPower();
    this.#lastPlan = undefined;
    state.setBusy('Removing what the guest wrote');
    try {
      await source.reset();
      log('good', 'The disk is as it was in the beginning');
    } catch (error) {
      this.#fail(error, false);
      return;
    } finally {
      state.setBusy(undefined);
    }
    await this.start();
  }

  /** Whether there is something to download. */
  get savable(): boolean {
    return this.#session !== undefined || this.#lastPlan !== undefined;
  }

  /** Saves the file that holds what the guest wrote. A guest that runs stands still meanwhile. */
  async download(signal: AbortSignal): Promise<void> {
    const { state, log } = this.#options;
    const plan = this.#session?.plan ?? this.#lastPlan;
    if (plan === undefined || state.busy !== undefined) return;
    const name = plan.downloadName;
    const target = await chooseSaveTarget(name);
    if (target === undefined) return;
    state.setBusy('Preparing the download');
    try {
      let bytes = 0;
      const onProgress = ({ done, total }: { done: number; total: number }): void => {
        bytes = total;
        state.setBusy(`Saving ${name}: ${formatBytes(done)} of ${formatBytes(total)}`);
      };
      const write = (chunk: Uint8Array<ArrayBuffer>): Promise<void> => target.write(chunk);
      if (this.#session === undefined) await saveFile(plan.writesTo, write, { signal, onProgress });
      else await this.#saveRunning(this.#session, write, { signal, onProgress });
      await target.finish();
      log('good', `Saved ${name}, ${formatBytes(bytes)}`);
    } catch (error) {
      await target.discard().catch(() => {});
      if (signal.aborted) log('info', 'The download was canceled');
      else log('error', `The download failed: ${explainError(error, this.#where(false)).detail}`);
    } finally {
      state.setBusy(undefined);
    }
  }

  async #saveRunning(session: Session, write: WriteChunk, options: ExportOptions): Promise<void> {
    const { log } = this.#options;
    const { talk } = session.plan;
    if (talk === undefined || !(await syncGuest(session.machine.serial, talk))) {
      log('warning', 'What the guest has not synced yet is not in the file');
    }
    await session.machine.pause();
    try {
      for await (const chunk of session.disk.exportNode(options)) await write(chunk);
    } finally {
      if (this.#session === session) await session.machine.run();
    }
  }

  /** The page goes away. */
  abandon(): void {
    this.#starting?.stop.abort(new DOMException('the page was left', 'AbortError'));
    this.#session?.abandon();
  }

  /** Watches a guest that talks: ready, powered off by itself, rebooting. */
  #follow(session: Session, talk: GuestTalk, from = 0): void {
    const { serial } = session.machine;
    const { log } = this.#options;
    void serial.waitFor(talk.ready, { from }).then((match) => {
      if (this.#session !== session) return;
      const boots = match[1] === 'read-only' ? '' : `, boot number ${match[1]} of this disk`;
      this.#running(`${talk.name} is up${boots}`);
    });
    void serial.waitFor(talk.noDisk, { from }).then(() => {
      if (this.#session !== session) return;
      this.#running(`${talk.name} is up, but cannot use its disk`);
      log('error', `${talk.name} cannot use its disk. A reset starts from the image again.`);
    });
    void serial.waitFor(talk.reboots, { from }).then(() => {
      if (this.#session !== session) return;
      log('info', 'The guest reboots');
      this.#options.state.set('booting', 'The guest reboots');
      this.#follow(session, talk, serial.position);
    });
    void serial.waitFor(talk.off, { from }).then(async () => {
      // A shutdown by button follows the same words.
      if (this.#options.state.busy !== undefined || this.#session !== session) return;
      await this.#afterPowerOff(session, 'The guest has powered itself off');
    });
  }

  #running(words: string): void {
    const { state, log } = this.#options;
    state.step('guest', 'done', words);
    state.set('running', words);
    log('good', words);
  }

  async #afterPowerOff(session: Session, words: string): Promise<void> {
    await pause(HALT_MS);
    await this.#close(session, words);
  }

  async #close(session: Session, words: string): Promise<void> {
    const { state, log, onSession } = this.#options;
    if (this.#session !== session) return;
    this.#session = undefined;
    try {
      await session.end();
      log('good', `${words}; the disk is flushed and closed`);
      state.set('off', `${words}. The disk is flushed and closed.`);
    } catch (error) {
      log('error', 'The disk could not be flushed');
      this.#fail(error, false);
    } finally {
      onSession(undefined);
    }
  }

  #onEvent(event: IOThreadEvent): void {
    const { level, words } = eventWords(event);
    this.#options.log(level, words);
    if (event.event !== 'IOTHREAD_FAILED' || this.#session === undefined) return;
    const error = this.#session.disk.thread.failed ?? new Error(event.message);
    void this.#drop();
    this.#fail(error, false);
  }

  /** Gives up the session, whatever of it still works. */
  async #drop(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    await session.end().catch(() => {});
    this.#options.onSession(undefined);
  }

  #where(preparing: boolean): Parameters<typeof explainError>[1] {
    return { ownImage: this.#options.ownImage, preparing };
  }

  #fail(error: unknown, preparing: boolean): void {
    const { state, log, onProblem } = this.#options;
    const problem = explainError(error, this.#where(preparing));
    state.failSteps();
    state.set('error', problem.title);
    log('error', problem.title);
    onProblem(problem);
  }
}
