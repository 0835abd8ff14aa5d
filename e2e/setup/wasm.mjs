// The WebAssembly modules: `npm run wasm` when a source is newer than what was built from it.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { mtime, root, run, say } from './shell.mjs';

const folder = join(root, 'wasm');
const output = join(folder, 'build');

/** Builds wasm/build from wasm/, when that is older. */
export async function ensureWasm() {
  if (!existsSync(join(folder, 'build.mjs'))) return say('wasm: no sources');
  const built = filesOf(output).map(mtime);
  const sources = filesOf(folder)
    .filter((file) => !file.startsWith(output))
    .map(mtime);
  sources.push(mtime(join(root, 'node_modules/assemblyscript/package.json')));
  if (built.length > 0 && Math.min(...built) >= Math.max(...sources))
    return say('wasm: up to date');
  say('wasm: building');
  await run(process.execPath, [join(folder, 'build.mjs')]);
}

/**
 * @param {string} path a folder
 * @returns {string[]} the files below it, tests left out
 */
function filesOf(path) {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}
