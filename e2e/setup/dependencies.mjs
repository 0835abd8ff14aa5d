// Installed packages: `npm ci` when there are none, or when the lockfile asks for others. npm keeps
// a copy of what it installed in node_modules/.package-lock.json; comparing contents rather than
// dates means that a fresh checkout of the same lockfile installs nothing again.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, say, SetupError } from './shell.mjs';

/** Makes node_modules what package-lock.json says. */
export async function ensureDependencies() {
  const missing = firstMissing();
  if (missing === undefined) return say('dependencies: installed');
  say(`dependencies: npm ci, because ${missing}`);
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  await run(npm, ['ci', '--no-audit', '--no-fund']);
  const still = firstMissing();
  if (still !== undefined) throw new SetupError(`npm ci went through, but ${still}`);
}

/** @returns {string | undefined} why an installation is needed */
function firstMissing() {
  const installedList = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(installedList)) return 'node_modules is absent';
  const wanted = packagesOf(join(root, 'package-lock.json'));
  const installed = packagesOf(installedList);
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue;
    const found = installed[path];
    // Packages for other platforms are in the lockfile, but not installed.
    if (!found && entry.optional) continue;
    if (found?.version !== entry.version) {
      return `${path} is ${found ? found.version : 'absent'}, not ${entry.version}`;
    }
  }
  return undefined;
}

/**
 * @param {string} lockfile
 * @returns {Record<string, { version: string, optional?: boolean }>}
 */
function packagesOf(lockfile) {
  return JSON.parse(readFileSync(lockfile, 'utf8')).packages;
}
