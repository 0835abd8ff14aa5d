// What boot-program.asm says and hears. Its writes are on the disk when it says so: INT 13h knows no
// cache, and our device writes through for a driver that does not flush.

import type { GuestTalk } from '../machine/guest-shell.ts';

export const EMBEDDED_TALK: GuestTalk = {
  name: 'The embedded guest',
  ready: /EMBEDDED-READY boots=(\d+)\n(?:.*\n)*guest# ?$/,
  noDisk: /EMBEDDED-NOSTATE[^\n]*\n/,
  off: /EMBEDDED-OFF poweroff/,
  reboots: /EMBEDDED-OFF reboot/,
  powerOff: 'p',
  sync: undefined,
};
