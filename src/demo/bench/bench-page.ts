// What the benchmark's page shows: a box for each group of rows, progress, and the figures as text,
// which is also what people copy into a report.

import { element, make, setText } from '../elements.ts';
import type { Row } from './row.ts';

export class BenchPage {
  readonly #rows: readonly Row[];
  readonly #boxes = new Map<string, HTMLInputElement>();
  readonly #run = element('run', HTMLButtonElement);
  readonly #cancel = element('cancel', HTMLButtonElement);
  readonly #copy = element('copy', HTMLButtonElement);
  readonly #progress = element('progress', HTMLProgressElement);
  readonly #words = element('words', HTMLParagraphElement);
  readonly #report = element('report', HTMLPreElement);

  constructor(rows: readonly Row[]) {
    this.#rows = rows;
    const groups = element('groups', HTMLFieldSetElement);
    for (const name of new Set(rows.map(groupOf))) {
      const box = make('input');
      box.type = 'checkbox';
      box.value = name;
      box.checked = true;
      const label = make('label');
      label.append(box, name);
      groups.append(label);
      this.#boxes.set(name, box);
    }
    this.#copy.addEventListener('click', () => void this.#copyText());
  }

  /** Calls back with the rows that are ticked. */
  onRun(listener: (rows: readonly Row[]) => void): void {
    this.#run.addEventListener('click', () => {
      const rows = this.#rows.filter((row) => this.#boxes.get(groupOf(row))!.checked);
      if (rows.length > 0) listener(rows);
      else setText(this.#words, 'Tick some rows first.');
    });
  }

  /** The signal tells when the person cancels. */
  begin(): AbortSignal {
    const abort = new AbortController();
    this.#cancel.onclick = (): void => {
      abort.abort(new Error('cancelled'));
      this.#cancel.disabled = true;
      setText(this.#words, 'Cancelling after the present round …');
    };
    this.#running(true);
    setText(this.#words, 'Looking at the machine …');
    return abort.signal;
  }

  progress(row: string, at: number, count: number): void {
    this.#progress.value = at / count;
    setText(this.#words, `${row} (${at + 1} of ${count})`);
  }

  /** Figures so far. */
  show(report: string): void {
    setText(this.#report, report);
    this.#copy.disabled = false;
  }

  end(words: string): void {
    this.#running(false);
    setText(this.#words, words);
  }

  #running(running: boolean): void {
    document.body.dataset['state'] = running ? 'busy' : 'off';
    this.#run.disabled = running;
    this.#cancel.disabled = !running;
    this.#progress.hidden = !running;
    this.#progress.value = 0;
    for (const box of this.#boxes.values()) box.disabled = running;
  }

  async #copyText(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.#report.textContent);
      setText(this.#words, 'Copied.');
    } catch {
      // Without the permission, at least select it.
      getSelection()?.selectAllChildren(this.#report);
      setText(this.#words, 'Selected: copy it with the keyboard.');
    }
  }
}

/** `opfs-raw` of `opfs-raw/randread-4k`; one box for all rows with a guest. */
function groupOf({ name }: Row): string {
  return name.startsWith('v86') ? 'v86' : name.slice(0, name.indexOf('/'));
}
