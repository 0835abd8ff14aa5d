// The console: the serial terminal or the VGA screen, whichever is chosen. v86 draws into the screen's
// element; its keyboard, which would take every key on the page, is on only while that has the focus.

import type { V86 } from 'v86';
import { element } from '../elements.ts';
import type { SerialTerminal } from './terminal.ts';

export type ConsoleSide = 'serial' | 'screen';

export class ConsoleView {
  /** Where v86 draws. */
  readonly screen: HTMLElement = element('screen', HTMLElement);
  readonly #terminalBox: HTMLElement = element('terminal', HTMLElement);
  readonly #terminal: SerialTerminal;
  readonly #buttons: Readonly<Record<ConsoleSide, HTMLButtonElement>> = {
    serial: element('show-serial', HTMLButtonElement),
    screen: element('show-screen', HTMLButtonElement),
  };
  #side: ConsoleSide = 'serial';
  #emulator: V86 | undefined;

  constructor(terminal: SerialTerminal) {
    this.#terminal = terminal;
    for (const side of ['serial', 'screen'] as const) {
      this.#buttons[side].addEventListener('click', () => {
        this.show(side);
        this.focus();
      });
    }
    const keyboard = (on: boolean) => () => this.#emulator?.keyboard_set_enabled(on);
    this.screen.addEventListener('focus', keyboard(true));
    this.screen.addEventListener('blur', keyboard(false));
  }

  /** The machine whose console this is; undefined: none runs. What it showed last stays. */
  connect(emulator: V86 | undefined): void {
    this.#emulator = emulator;
    emulator?.keyboard_set_enabled(document.activeElement === this.screen);
  }

  show(side: ConsoleSide): void {
    this.#side = side;
    this.screen.hidden = side !== 'screen';
    this.#terminalBox.hidden = side !== 'serial';
    for (const [name, button] of Object.entries(this.#buttons)) {
      button.setAttribute('aria-pressed', String(name === side));
    }
  }

  focus(): void {
    if (this.#side === 'screen') this.screen.focus();
    else this.#terminal.focus();
  }
}
