// The built workbench in a tab without a driver: by its test hooks and its document.

import { expect } from '@playwright/test';
import type { WorkbenchHooks } from '../../src/demo/test-hooks.ts';
import type { EngineTab } from './tab.ts';

interface Hooked {
  diskplane: WorkbenchHooks;
}

/** Waits for the guest's prompt; answers what it has said so far. */
export async function booted(tab: EngineTab, timeout: number): Promise<string> {
  const state = await tab.until(
    () => /^(running|error)$/.exec(document.body.dataset['state'] ?? '')?.[0],
    undefined,
    timeout,
    () => (globalThis as unknown as Hooked).diskplane.serialText.slice(-2000),
  );
  const problem = await tab.evaluate(
    () => document.querySelector('[data-testid=problem]')!.textContent,
    undefined,
  );
  expect({ state, problem }).toEqual({ state: 'running', problem: '' });
  return tab.evaluate(() => (globalThis as unknown as Hooked).diskplane.serialText, undefined);
}

/** How the guest's requests travel. */
export function transportOf(tab: EngineTab): Promise<string | undefined> {
  return tab.evaluate(
    () => (globalThis as unknown as Hooked).diskplane.attachment?.transport,
    undefined,
  );
}

/** Types keys of the embedded guest; answers what it says to them. */
export function type(tab: EngineTab, keys: string): Promise<string> {
  return tab.evaluate(async (keys) => {
    const { serial } = (globalThis as unknown as Hooked).diskplane.machine!;
    const from = serial.position;
    serial.send(keys);
    const signal = AbortSignal.timeout(30_000);
    return (await serial.waitFor(/[^]*\nguest# $/, { from, signal }))[0];
  }, keys);
}

/** Runs a command in the Linux guest's shell; answers what it printed. */
export function guestRun(tab: EngineTab, command: string): Promise<string> {
  return tab.evaluate(async (command) => {
    const { serial } = (globalThis as unknown as Hooked).diskplane.machine!;
    const from = serial.text.length;
    await serial.run(command, AbortSignal.timeout(50_000));
    // Without the echo of the command and the next prompt.
    return serial.text.slice(from).split('\n').slice(1, -1).join('\n');
  }, command);
}

/** Presses the button with that test id; a dialog's yes after it. */
export async function press(tab: EngineTab, ...testIds: readonly string[]): Promise<void> {
  for (const testId of testIds) {
    const selector = `[data-testid=${testId}]`;
    await tab.until(
      (selector) => document.querySelector<HTMLElement>(selector)?.checkVisibility(),
      selector,
      10_000,
    );
    await tab.evaluate(
      (selector) => document.querySelector<HTMLElement>(selector)!.click(),
      selector,
    );
  }
}

export async function untilState(tab: EngineTab, state: string): Promise<void> {
  await tab.until((state) => document.body.dataset['state'] === state, state, 30_000);
}
