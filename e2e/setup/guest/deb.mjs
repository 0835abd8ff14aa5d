// Unpacks a .deb without dpkg: an `ar` archive whose member data.tar.<something> holds the files.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, SetupError } from '../shell.mjs';

/**
 * Puts the files of a package into `folder`, which is made.
 * @param {string} deb path of the package
 * @param {string} folder
 */
export async function unpackDeb(deb, folder) {
  const [name, data] = memberOf(readFileSync(deb), 'data.tar', deb);
  mkdirSync(folder, { recursive: true });
  const archive = join(folder, name);
  writeFileSync(archive, data);
  // tar finds out the compression by itself. Device nodes and owners need root; we want neither.
  await run('tar', ['-xf', name, '--no-same-owner'], { cwd: folder, quiet: true });
  rmSync(archive);
}

/**
 * Finds a member of an `ar` archive: 60-byte headers, data padded to even offsets.
 * @param {Buffer} archive
 * @param {string} prefix of the member's name
 * @param {string} path for messages
 * @returns {[string, Buffer]} its full name and its data
 */
function memberOf(archive, prefix, path) {
  if (archive.toString('latin1', 0, 8) !== '!<arch>\n') {
    throw new SetupError(`${path} is not a Debian package`);
  }
  for (let at = 8; at + 60 <= archive.length;) {
    const name = archive
      .toString('latin1', at, at + 16)
      .trimEnd()
      .replace(/\/$/, '');
    const size = Number.parseInt(archive.toString('latin1', at + 48, at + 58), 10);
    if (!(size >= 0) || at + 60 + size > archive.length) break;
    if (name.startsWith(prefix)) return [name, archive.subarray(at + 60, at + 60 + size)];
    at += 60 + size + (size % 2);
  }
  throw new SetupError(`${path} has no member ${prefix}`);
}
