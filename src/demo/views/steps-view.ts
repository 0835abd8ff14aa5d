// The cover over the console until the guest speaks: steps with their progress, or the problem with
// the ways out of it, or that the machine is off.

import { element, make, setText } from '../elements.ts';
import type { Problem, WayOut } from '../explain-error.ts';
import type { PageState, Step, StepName } from '../page-state.ts';

const LABELS: Readonly<Record<WayOut, string>> = {
  retry: 'Try again',
  start: 'Start again',
  reset: 'Reset the disk…',
  'use-memory': 'Keep writes in memory',
  'use-idb': 'Keep writes in IndexedDB',
  'restore-disk': 'Put the disk of that time back',
  'open-image': 'Open an image…',
  'leave-image': 'Back to the guest',
  'embedded-guest': 'Boot the embedded guest',
};

const SIGNS: Readonly<Record<Step['state'], string>> = {
  waiting: 'waiting',
  active: 'under way',
  done: 'done',
  failed: 'failed',
};

export class StepsView {
  readonly #cover: HTMLElement = element('cover', HTMLElement);
  readonly #list: HTMLElement = element('steps', HTMLElement);
  readonly #problem: HTMLElement = element('problem', HTMLElement);
  readonly #off: HTMLElement = element('off', HTMLElement);
  readonly #rows = new Map<
    StepName,
    { row: HTMLElement; words: HTMLElement; bar: HTMLProgressElement }
  >();
  readonly #state: PageState;
  readonly #onWayOut: (way: WayOut) => void;
  #guestSpoke = false;
  #hasProblem = false;

  constructor(state: PageState, onWayOut: (way: WayOut) => void) {
    this.#state = state;
    this.#onWayOut = onWayOut;
    state.onChange(() => this.#update());
  }

  /** The guest has something to show, so the steps make room. */
  guestSpoke(spoke: boolean): void {
    if (this.#guestSpoke === spoke) return;
    this.#guestSpoke = spoke;
    this.#update();
  }

  showProblem(problem: Problem | undefined): void {
    this.#hasProblem = problem !== undefined;
    this.#problem.replaceChildren(...(problem === undefined ? [] : this.#problemParts(problem)));
    this.#update();
  }

  #problemParts(problem: Problem): HTMLElement[] {
    const ways = make('menu');
    problem.ways.forEach((way, at) => {
      const button = make('button', at === 0 ? 'strong' : '', LABELS[way]);
      button.type = 'button';
      button.dataset['testid'] = `way-${way}`;
      button.addEventListener('click', () => this.#onWayOut(way));
      ways.append(button);
    });
    const details = make('details');
    details.append(make('summary', '', 'Exactly'), make('p', 'exact', problem.detail));
    const command = problem.command === undefined ? [] : [make('code', 'command', problem.command)];
    return [make('h3', '', problem.title), make('p', '', problem.words), ...command, ways, details];
  }

  #update(): void {
    const { phase, words } = this.#state;
    for (const [name, step] of this.#state.steps) this.#updateRow(name, step);
    const off = phase === 'off';
    this.#problem.hidden = !this.#hasProblem;
    this.#off.hidden = !off;
    if (off) setText(this.#off, words);
    this.#list.hidden = off || this.#rows.size === 0;
    const starting = phase === 'loading' || (phase === 'booting' && !this.#guestSpoke);
    this.#cover.hidden = !(starting || off || this.#hasProblem);
  }

  #updateRow(name: StepName, step: Step): void {
    let parts = this.#rows.get(name);
    if (parts === undefined) {
      const row = make('li');
      const words = make('span');
      const bar = make('progress');
      bar.max = 1;
      row.append(words, bar);
      this.#list.append(row);
      parts = { row, words, bar };
      this.#rows.set(name, parts);
    }
    parts.row.dataset['state'] = step.state;
    parts.row.title = SIGNS[step.state];
    setText(parts.words, step.words);
    parts.bar.hidden = step.state !== 'active';
    parts.bar.setAttribute('aria-label', step.words);
    if (step.progress === undefined) parts.bar.removeAttribute('value');
    else parts.bar.value = step.progress;
  }
}
