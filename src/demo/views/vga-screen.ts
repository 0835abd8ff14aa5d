// The VGA screen of a guest without a serial console. v86 draws into the element; its keyboard, which
// would take every key on the page, is on only while the screen has the focus.

import type { V86 } from 'v86';

export class VgaScreen {
  readonly element: HTMLElement;
  #emulator: V86 | undefined;

  constructor(element: HTMLElement) {
    this.element = element;
    element.addEventListener('focus', () => this.#emulator?.keyboard_set_enabled(true));
    element.addEventListener('blur', () => this.#emulator?.keyboard_set_enabled(false));
  }

  /** Shows the screen of `emulator`; none: the screen is hidden. */
  show(emulator: V86 | undefined): void {
    this.#emulator = emulator;
    this.element.hidden = emulator === undefined;
    emulator?.keyboard_set_enabled(document.activeElement === this.element);
  }
}
