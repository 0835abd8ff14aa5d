// Installing Debian packages where we may: root, on a machine with apt. Elsewhere the caller says
// what is missing, in words that can be pasted into a shell.

import { run, say, which } from './shell.mjs';

/** @returns {boolean} whether `aptInstall` can work here */
export function canAptInstall() {
  return process.platform === 'linux' && process.getuid?.() === 0 && which('apt-get') !== undefined;
}

/**
 * Installs Debian packages. Refreshes apt's lists once, when the first try finds them stale.
 * @param {readonly string[]} packages
 * @returns {Promise<boolean>} whether apt says it worked
 */
export async function aptInstall(packages) {
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  const install = ['install', '-y', '--no-install-recommends', ...packages];
  const options = { env, quiet: true, mayFail: true };
  say(`apt-get install ${packages.join(' ')}`);
  if ((await run('apt-get', install, options)).code === 0) return true;
  say('apt-get update');
  await run('apt-get', ['update'], options);
  const second = await run('apt-get', install, options);
  if (second.code !== 0) say(`apt-get failed: ${second.output.trim().split('\n').at(-1)}`);
  return second.code === 0;
}
