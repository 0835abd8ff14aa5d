// The WebAssembly modules. Their build does nothing where its outputs are newer than its sources.

import { join } from 'node:path';
import { root, run, say } from './shell.mjs';

/** Makes wasm/build what wasm/ says. */
export async function ensureWasm() {
  await run(process.execPath, [join(root, 'wasm/build.mjs')]);
  say('wasm: built');
}
