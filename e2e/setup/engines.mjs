// The other engines that end-to-end tests run in: Firefox, and WebKitGTK's MiniBrowser, which needs a
// display and therefore Xvfb. First hit wins: a variable of the user's, what is installed, Debian's
// packages where we may install them.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { aptInstall, canAptInstall } from './debian.mjs';
import { isProgram, say, SetupError, which } from './shell.mjs';

/** Where distributions put programs that are not for the PATH. */
const libraries = ['/usr/lib', '/usr/libexec', '/usr/lib64'];

/**
 * What there is to know of an engine: its programs, found or not, and how to get them.
 * @type {Record<import('./engines.d.mts').EngineName, { packages: string[], find: () => string | undefined, also: string[] }>}
 */
const engines = {
  firefox: {
    packages: ['firefox-esr'],
    find: () =>
      fromVariable('DISKPLANE_FIREFOX') ??
      which('firefox-esr') ??
      which('firefox') ??
      ['/Applications/Firefox.app/Contents/MacOS/firefox'].find(isProgram),
    also: [],
  },
  webkit: {
    packages: ['webkit2gtk-driver', 'xvfb', 'xauth'],
    find: () => fromVariable('DISKPLANE_WEBKIT') ?? findMiniBrowser(),
    also: ['Xvfb'],
  },
};

/**
 * Looks for an engine and installs nothing.
 * @param {import('./engines.d.mts').EngineName} name
 * @returns {string | undefined} the path of its program
 */
export function findEngine(name) {
  // They are ended by their process groups.
  if (process.platform === 'win32') return undefined;
  const { find, also } = engines[name];
  return also.every(which) ? find() : undefined;
}

/**
 * Looks for an engine, and installs Debian's where there is none and we may.
 * @param {import('./engines.d.mts').EngineName} name
 * @returns {Promise<string | undefined>} the path of its program; undefined, and said why, where its
 *   tests are to be skipped
 * @throws {SetupError} where it is missing and must not be: under CI on a Debian of ours
 */
export async function ensureEngine(name) {
  const { packages } = engines[name];
  const install = process.platform === 'linux' && canAptInstall();
  if (!findEngine(name) && install) await aptInstall(packages);
  const path = findEngine(name);
  if (path) {
    say(`${name}: ${path}`);
    return path;
  }
  const how = `apt-get install ${packages.join(' ')}`;
  if (process.env['CI'] && install) throw new SetupError(`no ${name}, and ${how} brings none`);
  say(`${name}: NOT THERE, its tests are skipped (Debian: ${how})`);
  return undefined;
}

/** @param {string} variable */
function fromVariable(variable) {
  const path = process.env[variable];
  if (!path) return undefined;
  if (isProgram(path)) return path;
  throw new SetupError(`${variable} is '${path}', which is no program`);
}

/** @returns {string | undefined} `<library>[/<triplet>]/webkit2gtk-4.1/MiniBrowser` */
function findMiniBrowser() {
  for (const library of libraries) {
    for (const folder of [library, ...foldersIn(library, /-linux-gnu/)]) {
      for (const webkit of foldersIn(folder, /^webkit(2)?gtk-\d/).reverse()) {
        const path = join(webkit, 'MiniBrowser');
        if (isProgram(path)) return path;
      }
    }
  }
  return undefined;
}

/**
 * @param {string} folder
 * @param {RegExp} pattern
 * @returns {string[]} paths, sorted
 */
function foldersIn(folder, pattern) {
  try {
    const names = readdirSync(folder).filter((name) => pattern.test(name));
    return names.sort().map((name) => join(folder, name));
  } catch {
    return [];
  }
}
