// "Are you sure?", in the browser's own dialog: Escape and Cancel mean no.

import { element } from '../elements.ts';

/** Asks; resolves to whether the answer was yes. */
export function ask(title: string, words: string, yes: string): Promise<boolean> {
  const dialog = element('ask', HTMLDialogElement);
  element('ask-title', HTMLElement).textContent = title;
  element('ask-words', HTMLElement).textContent = words;
  dialog.querySelector('button[value=yes]')!.textContent = yes;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    const closed = (): void => resolve(dialog.returnValue === 'yes');
    dialog.addEventListener('close', closed, { once: true });
  });
}
