// Licences of the packages whose code is in our published files: found by what the bundler took in,
// not by a list, so that none is forgotten.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, SetupError } from './shell.mjs';

/**
 * Adds the names of the packages that a build takes code from to `names`.
 * @param {Set<string>} names
 * @returns {import('vite').Plugin}
 */
export function bundledPackages(names) {
  return {
    name: 'diskplane:bundled-packages',
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        for (const id of Object.keys(file.modules ?? {})) {
          const path = id.replaceAll('\\', '/');
          const found = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
          if (found) names.add(found[1]);
        }
      }
    },
  };
}

/**
 * The notices, to be published with the code.
 * @param {readonly string[]} names of installed packages
 * @returns {string}
 * @throws {SetupError} for a package that brings no licence
 */
export function noticesOf(names) {
  const parts = names.map((name) => {
    const folder = join(root, 'node_modules', name);
    const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
    if (!file || !existsSync(join(folder, file))) {
      throw new SetupError(`the package ${name}, of which code is published, brings no licence`);
    }
    const text = readFileSync(join(folder, file), 'utf8').trim();
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  const line = `\n${'-'.repeat(80)}\n\n`;
  return ['Files of this package hold code of the following packages.\n', ...parts].join(line);
}
