// The terminal on the guest's serial line. xterm.js is large, so it is loaded only when a machine
// boots; what the guest says before that waits.

import type { Terminal } from '@xterm/xterm';

const BACKGROUND = '#10151c';
/** The kernel's console takes 80 columns for granted; the letters shrink this far to give them. */
const SMALLEST = 11;
const LARGEST = 15;
/** Width of a letter as a share of its height, in the monospaced fonts that systems have. */
const LETTER_WIDTH = 0.603;
/** Padding at the left, and the scroll bar at the right. */
const MARGINS = 28;

/** The user has not turned to anything on the page. */
export function nothingHasFocus(): boolean {
  return document.activeElement === null || document.activeElement === document.body;
}

export class SerialTerminal {
  readonly #container: HTMLElement;
  readonly #onInput: (text: string) => void;
  readonly #early: Uint8Array[] = [];
  #terminal: Terminal | undefined;
  #loading: Promise<void> | undefined;
  /** Somebody gave it the focus before it was there. */
  #wanted = false;

  /** `onInput` hears what the user types. */
  constructor(container: HTMLElement, onInput: (text: string) => void) {
    this.#container = container;
    this.#onInput = onInput;
  }

  write(bytes: Uint8Array): void {
    if (this.#terminal === undefined) this.#early.push(bytes);
    else this.#terminal.write(bytes);
    this.#loading ??= this.#load();
  }

  /** Starts loading, so that the first words need not wait. */
  preload(): void {
    this.#loading ??= this.#load();
  }

  clear(): void {
    this.#early.length = 0;
    this.#terminal?.reset();
  }

  focus(): void {
    this.#wanted = true;
    this.#terminal?.focus();
  }

  /** The visible text, for tests. */
  get text(): string {
    const buffer = this.#terminal?.buffer.active;
    if (buffer === undefined) return '';
    const lines: string[] = [];
    for (let y = 0; y < buffer.length; y++) lines.push(buffer.getLine(y)!.translateToString(true));
    return lines.join('\n').trimEnd();
  }

  async #load(): Promise<void> {
    const [{ Terminal }, { FitAddon }] = await Promise.all([
      import('@xterm/xterm'),
      import('@xterm/addon-fit'),
      import('@xterm/xterm/css/xterm.css'),
    ]);
    const style = getComputedStyle(this.#container);
    const terminal = new Terminal({
      fontFamily: style.fontFamily,
      fontSize: this.#fontSize(),
      scrollback: 5000,
      cursorBlink: false,
      theme: { background: BACKGROUND, foreground: '#d8dee6', cursor: '#7fc4ff' },
      // Serial lines are read by screen readers as well.
      screenReaderMode: false,
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(this.#container);
    terminal.textarea?.setAttribute('aria-label', 'Serial console of the guest');
    fit.fit();
    terminal.onData((text) => this.#onInput(text));
    new ResizeObserver(() => {
      if (this.#container.clientWidth === 0) return; // hidden
      terminal.options.fontSize = this.#fontSize();
      fit.fit();
    }).observe(this.#container);
    for (const bytes of this.#early.splice(0)) terminal.write(bytes);
    this.#terminal = terminal;
    if (this.#wanted && nothingHasFocus()) terminal.focus();
  }

  #fontSize(): number {
    const width = this.#container.clientWidth - MARGINS;
    return Math.min(LARGEST, Math.max(SMALLEST, Math.floor((2 * width) / 80 / LETTER_WIDTH) / 2));
  }
}
