// Commands to the Linux guest over its serial line: sync, power off. They are typed only at a prompt,
// since anywhere else they would be input of whatever runs.

import type { SerialConsole } from './serial-console.ts';

/** How long the guest may take to show a prompt after Ctrl-C, milliseconds. */
const PROMPT_MS = 3000;
const SYNC_MS = 30_000;
const POWER_OFF_MS = 30_000;
const PROMPT = /(?:^|\n)guest# ?$/;

/** What the guest's init says, on a line of its own. */
export const GUEST_SAYS: Readonly<Record<'ready' | 'noRoot' | 'off' | 'reboots', RegExp>> = {
  ready: /GUEST-READY [^\n]*boots=(\S+) [^\n]*\n(?:.*\n)*guest# ?$/,
  noRoot: /GUEST-NOROOT [^\n]*\n/,
  off: /GUEST-OFF (?:poweroff|halt)/,
  reboots: /GUEST-OFF reboot/,
};

/** Brings the shell to a prompt: it is there, or Ctrl-C ends what runs. Answers whether. */
export async function bringPrompt(serial: SerialConsole): Promise<boolean> {
  if (serial.atPrompt) return true;
  const from = serial.position;
  serial.send('\x03');
  return serial.waitFor(PROMPT, { from, signal: AbortSignal.timeout(PROMPT_MS) }).then(
    () => true,
    () => false,
  );
}

/** Has the guest write its memory's share of the disk. Answers false where it is not at a prompt. */
export async function syncGuest(serial: SerialConsole): Promise<boolean> {
  if (!serial.atPrompt) return false;
  await serial.run('sync', AbortSignal.timeout(SYNC_MS));
  return true;
}

/** Asks for a power-off at a prompt; resolves to whether the guest's last word came in time. */
export function powerOff(serial: SerialConsole): Promise<boolean> {
  const from = serial.position;
  serial.send('poweroff\n');
  const signal = AbortSignal.timeout(POWER_OFF_MS);
  return serial.waitFor(GUEST_SAYS.off, { from, signal }).then(
    () => true,
    () => false,
  );
}
