// What the page can do with a machine: start it, shut it down, reset its disk. One thing at a time;
// each tells the page's state and its log what goes on. Draws nothing.

import type { IOThreadEvent } from '../index.ts';
import type { BootKind, BootPlan } from './boot/boot-plan.ts';
import { STORE_NAMES } from './boot/store-kind.ts';
import type { Selection } from './boot/selection.ts';
import { eventWords } from './event-words.ts';
import { explainError } from './explain-error.ts';
import type { Problem } from './explain-error.ts';
import { followGuest } from './machine/follow-guest.ts';
import { bringPrompt, powerOff } from './machine/guest-shell.ts';
import { Session } from './machine/session.ts';
import { chooseTransport, transportName } from './machine/transport-choice.ts';
import { pause } from './page-clock.ts';
import type { PageState } from './page-state.ts';

export type LogLevel = 'info' | 'good' | 'warning' | 'error';

export interface WorkbenchOptions {
  readonly state: PageState;
  readonly selection: Selection;
  /** URL of the folder with SeaBIOS, with a slash at its end. */
  readonly firmware: string;
  readonly screen: HTMLElement;
  readonly log: (level: LogLevel, words: string) => void;
  readonly onSerial: (bytes: Uint8Array) => void;
  /** A session began, or the one there ended. */
  readonly onSession: (session: Session | undefined) => void;
  /** Something stops the page; undefined: it is over. */
  readonly onProblem: (problem: Problem | undefined) => void;
}

/** How a machine that was started gets to where it runs; default: as from a power button. */
export interface StartHow {
  readonly kind: BootKind;
  /** Called before the machine runs. */
  readonly prepare: (session: Session) => Promise<void>;
  /** For people, once it runs. */
  readonly words: string;
}

const WAITING = {
  files: 'Guest files',
  disk: 'Disk',
  emulator: 'Emulator',
  guest: 'Operating system',
} as const;

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
  /** What runs, or ran last: its disk is there. */
  get plan(): BootPlan | undefined {
    return this.#session?.plan ?? this.#lastPlan;
  }

  /** Boots what is selected. Does nothing while something runs. Problems are shown, not thrown. */
  async start(how?: StartHow): Promise<void> {
    if (this.#session !== undefined || this.#starting !== undefined) return;
    const stop = new AbortController();
    const done = this.#start(stop.signal, how).finally(() => (this.#starting = undefined));
    this.#starting = { stop, done };
    await done;
  }

  async #start(signal: AbortSignal, how: StartHow | undefined): Promise<void> {
    const { state, selection, firmware, screen, onSerial } = this.#options;
    this.#options.onProblem(undefined);
    state.resetSteps(WAITING);
    state.set('loading', 'Getting ready');
    let preparing = true;
    try {
      const session = await Session.open(
        {
          ...{ firmware, screen, onSerial, kind: how?.kind ?? 'boot' },
          source: selection.source(),
          transport: chooseTransport(selection.parameters.transport, selection.sharable).kind,
          report: (...step) => state.step(...step),
          onEvent: (event) => this.#onEvent(event),
          onPrepared: (plan) => {
            preparing = false;
            this.#lastPlan = plan;
          },
        },
        signal,
      );
      this.#session = session;
      await this.#run(session, how);
    } catch (error) {
      if (signal.aborted) return;
      await this.#drop();
      this.fail(error, { preparing, resuming: how?.kind === 'resume' });
    }
  }

  async #run(session: Session, how: StartHow | undefined): Promise<void> {
    const { state, log } = this.#options;
    const { transport } = session.machine.attachment;
    const { title, remark, talk, writesTo } = session.plan;
    if (remark !== undefined) log('info', remark);
    const where = STORE_NAMES[writesTo.store];
    log('info', `${title} by ${transportName(transport)}; writes go to ${where}`);
    this.#options.onSession(session);
    state.step('guest', 'active', 'Booting');
    state.set('booting', `Booting ${title}`);
    await how?.prepare(session);
    await session.machine.run();
    const from = how === undefined ? 0 : session.machine.serial.position;
    if (talk !== undefined) this.#follow(session, from);
    if (how !== undefined || talk === undefined) this.#running(how?.words ?? 'The machine runs');
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
      this.#options.onProblem(undefined);
      this.#options.state.set('off', 'Off');
      return;
    }
    await this.#close(session, 'The power was cut');
  }

  /** Throws away what the guest wrote, and boots again. */
  async reset(): Promise<void> {
    if (await this.#forget('Removing what the guest wrote')) {
      this.#options.log('good', 'The disk is as it was in the beginning');
      await this.start();
    }
  }

  /** Deletes an image that is kept in this browser. Answers whether it is gone. */
  async deleteImage(): Promise<boolean> {
    const { title } = this.#options.selection.source();
    const gone = await this.#forget(`Deleting ${title}`);
    if (gone) this.#options.log('good', `${title} is deleted`);
    return gone;
  }

  async #forget(words: string): Promise<boolean> {
    const { state, selection } = this.#options;
    await this.cutPower();
    this.#lastPlan = undefined;
    state.setBusy(words);
    try {
      await selection.source().reset();
      return true;
    } catch (error) {
      this.fail(error);
      return false;
    } finally {
      state.setBusy(undefined);
    }
  }

  /** The page goes away. */
  abandon(): void {
    this.#starting?.stop.abort(new DOMException('the page was left', 'AbortError'));
    this.#session?.abandon();
  }

  /** Shows what went wrong, and the ways out. */
  fail(error: unknown, when = { preparing: false, resuming: false }): void {
    const { state, log, onProblem, selection } = this.#options;
    const { ownImage } = selection;
    const problem = explainError(error, { ...when, ownImage });
    state.failSteps();
    state.set('error', problem.title);
    log('error', problem.title);
    onProblem(problem);
  }

  #follow(session: Session, from: number): void {
    const { log, state } = this.#options;
    const { serial } = session.machine;
    const talk = session.plan.talk!;
    const ours = (tell: () => void) => () => this.#session === session && tell();
    followGuest(
      serial,
      talk,
      {
        up: (words) => ours(() => this.#running(words))(),
        noDisk: ours(() => {
          this.#running(`${talk.name} is up, but cannot use its disk`);
          log('error', `${talk.name} cannot use its disk. A reset starts from the image again.`);
        }),
        reboots: ours(() => {
          log('info', 'The guest reboots');
          state.set('booting', 'The guest reboots');
        }),
        off: ours(() => {
          // A shutdown by button follows the same words.
          if (state.busy !== undefined) return;
          void this.#afterPowerOff(session, 'The guest has powered itself off');
        }),
      },
      from,
    );
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
      this.fail(error);
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
    this.fail(error);
  }

  /** Gives up the session, whatever of it still works. */
  async #drop(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    await session.end().catch(() => {});
    this.#options.onSession(undefined);
  }
}
