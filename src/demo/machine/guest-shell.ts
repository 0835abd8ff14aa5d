// Commands to a guest over its serial line: sync, power off. They are typed only at a prompt, since
// anywhere else they would be input of whatever runs. Guests differ in words, not in manners: each of
// ours shows the prompt `guest# `.

import type { SerialConsole } from './serial-console.ts';

/** How long the guest may take to show a prompt after Ctrl-C, milliseconds. */
const PROMPT_MS = 3000;
const SYNC_MS = 30_000;
const POWER_OFF_MS = 30_000;
const PROMPT = /(?:^|\n)guest# ?$/;

/** What a guest says on lines of its own, and what it wants to hear. */
export interface GuestTalk {
  /** For people: "Linux". */
  readonly name: string;
  /** It is up and at its prompt; the first group is how often the disk was booted, if it counts. */
  readonly ready: RegExp;
  /** It is up, and cannot use its disk. */
  readonly noDisk: RegExp;
  readonly off: RegExp;
  readonly reboots: RegExp;
  readonly powerOff: string;
  /** Command that writes what the guest holds back; undefined: it holds nothing back. */
  readonly sync: string | undefined;
}

export const LINUX_TALK: GuestTalk = {
  name: 'Linux',
  ready: /GUEST-READY [^\n]*boots=(\S+) [^\n]*\n(?:.*\n)*guest# ?$/,
  noDisk: /GUEST-NOROOT [^\n]*\n/,
  off: /GUEST-OFF (?:poweroff|halt)/,
  reboots: /GUEST-OFF reboot/,
  powerOff: 'poweroff\n',
  sync: 'sync',
};

/** Linux in its initrd, with the disk beside it and not below. */
export const LINUX_SHELL_TALK: GuestTalk = {
  ...LINUX_TALK,
  ready: /GUEST-READY root=none[^\n]*\n(?:.*\n)*guest# ?$/,
  // There is no init to ask. The quotes keep the echo of the command from passing for its answer.
  powerOff: 'sync; umount -a 2>/dev/null; echo GUEST-""OFF poweroff; poweroff -f\n',
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
export async function syncGuest(serial: SerialConsole, talk: GuestTalk): Promise<boolean> {
  if (!serial.atPrompt) return false;
  if (talk.sync !== undefined) await serial.run(talk.sync, AbortSignal.timeout(SYNC_MS));
  return true;
}

/** Asks for a power-off at a prompt; resolves to whether the guest's last word came in time. */
export function powerOff(serial: SerialConsole, talk: GuestTalk): Promise<boolean> {
  const from = serial.position;
  serial.send(talk.powerOff);
  const signal = AbortSignal.timeout(POWER_OFF_MS);
  return serial.waitFor(talk.off, { from, signal }).then(
    () => true,
    () => false,
  );
}
