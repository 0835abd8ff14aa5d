// The guest that tests boot and the workbench shows: built once per version of its scripts, and kept in
// the user's cache folder.

import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { guestExists, guestFolder } from './guest-folder.mjs';
import { say, SetupError } from './shell.mjs';
import { ensureTools } from './tools.mjs';

/**
 * Builds the guest where it is not there yet.
 * @returns {Promise<string>} its folder
 * @throws {SetupError} where this machine cannot build it
 */
export async function ensureGuest() {
  const folder = guestFolder();
  if (guestExists()) {
    say(`guest: ${folder}`);
    return folder;
  }
  const missing = await ensureTools(['mke2fs', 'xz']);
  if (missing.length > 0) {
    throw new SetupError(`the guest cannot be built here without ${missing.join(' and ')}`);
  }
  mkdirSync(dirname(folder), { recursive: true });
  // Beside its final place, so that it appears there at once and whole; two builds do no harm.
  const output = mkdtempSync(`${folder}.part-`);
  const scratch = mkdtempSync(join(tmpdir(), 'diskplane-guest-'));
  try {
    const { buildGuest } = await import('./guest/build.mjs');
    await buildGuest(output, scratch);
    if (!guestExists()) {
      rmSync(folder, { recursive: true, force: true });
      renameSync(output, folder);
    }
  } finally {
    rmSync(output, { recursive: true, force: true });
    rmSync(scratch, { recursive: true, force: true });
  }
  say(`guest: built ${folder}`);
  return folder;
}
