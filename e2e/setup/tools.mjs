// Programs of other projects that some tests compare us with, or that build the guest. A test that
// needs a missing one fails under CI and says that it was skipped elsewhere; here we only try to
// have them, and name those we could not get.

import { aptInstall, canAptInstall } from './debian.mjs';
import { say, which } from './shell.mjs';

/** Program to Debian package. */
const packageOf = {
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  mke2fs: 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  xz: 'xz-utils',
};

/**
 * Installs what is missing, where we may.
 * @param {readonly (keyof typeof packageOf)[]} [names] all, unless told
 * @returns {Promise<string[]>} the programs still missing
 */
export async function ensureTools(names = Object.keys(packageOf)) {
  let missing = names.filter((name) => !which(name));
  if (missing.length > 0 && canAptInstall()) {
    await aptInstall([...new Set(missing.map((name) => packageOf[name]))]);
    missing = names.filter((name) => !which(name));
  }
  if (missing.length === 0) {
    say(`tools: ${names.join(', ')}`);
  } else {
    const packages = [...new Set(missing.map((name) => packageOf[name]))];
    say(`tools: MISSING ${missing.join(', ')} (Debian: apt-get install ${packages.join(' ')})`);
  }
  return missing;
}
