// What the page is doing, in one word for programs (`data-state` on the body) and a line for people.
// The steps to a running guest have a line each.

export type Phase = 'loading' | 'booting' | 'running' | 'off' | 'error';

export type StepName = 'files' | 'disk' | 'emulator' | 'guest';

export interface Step {
  readonly state: 'waiting' | 'active' | 'done' | 'failed';
  readonly words: string;
  /** `[0, 1]` where it is known how far a step is. */
  readonly progress: number | undefined;
}

const STEP_NAMES: readonly StepName[] = ['files', 'disk', 'emulator', 'guest'];

export class PageState {
  #phase: Phase = 'loading';
  #words = 'Getting ready';
  #busy: string | undefined;
  #cancel: (() => void) | undefined;
  readonly #steps = new Map<StepName, Step>();
  readonly #listeners = new Set<() => void>();

  get phase(): Phase {
    return this.#phase;
  }
  /** One line for people. */
  get words(): string {
    return this.#words;
  }
  /** What goes on besides, such as a download; no second one is started meanwhile. */
  get busy(): string | undefined {
    return this.#busy;
  }
  /** Ends early what the page is busy with, where that can be. */
  get cancel(): (() => void) | undefined {
    return this.#cancel;
  }
  /** In the order in which they are drawn. */
  get steps(): readonly (readonly [StepName, Step])[] {
    return [...this.#steps];
  }

  /** Calls back after each change, and once now. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
    listener();
  }

  set(phase: Phase, words: string): void {
    this.#phase = phase;
    this.#words = words;
    this.#changed();
  }

  setBusy(words: string | undefined, cancel?: () => void): void {
    this.#busy = words;
    this.#cancel = cancel;
    this.#changed();
  }

  /** Every step waits again. */
  resetSteps(words: Readonly<Record<StepName, string>>): void {
    for (const name of STEP_NAMES) {
      this.#steps.set(name, { state: 'waiting', words: words[name], progress: undefined });
    }
    this.#changed();
  }

  step(name: StepName, state: Step['state'], words: string, progress?: number): void {
    this.#steps.set(name, { state, words, progress });
    this.#changed();
  }

  /** The steps under way did not come to their end. */
  failSteps(): void {
    for (const [name, step] of this.#steps) {
      if (step.state === 'active') this.#steps.set(name, { ...step, state: 'failed' });
    }
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
