// Where the guest's files lie: outside the checkout, in the user's cache folder, under a name made from
// the scripts that build them, so that a change of those builds anew and old checkouts keep theirs.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const scripts = fileURLToPath(new URL('./guest', import.meta.url));

/** @returns {string} the folder, which need not exist */
export function guestFolder() {
  const hash = createHash('sha256');
  for (const name of readdirSync(scripts).sort()) {
    // A checkout on Windows may have other line ends; the guest is the same.
    const text = readFileSync(join(scripts, name), 'utf8').replaceAll('\r\n', '\n');
    hash.update(`${name}\0${text}\0`);
  }
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  return join(cache, 'diskplane', `guest-${hash.digest('hex').slice(0, 12)}`);
}

/** @returns {boolean} whether the guest was built: guest.json is written last */
export function guestExists() {
  return existsSync(join(guestFolder(), 'guest.json'));
}
