// `npm run sim`: the simulation of the block layer (src/sim), made one file and run. In one file each
// `import()` is a promise job, so that loading a driver takes no time that the seed did not give.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureDependencies } from './setup/dependencies.mjs';
import { root, run, runMain } from './setup/shell.mjs';
import { ensureWasm } from './setup/wasm.mjs';

await runMain(async () => {
  await ensureDependencies();
  await ensureWasm();
  const { build } = await import('esbuild');
  const folder = mkdtempSync(join(tmpdir(), 'diskplane-sim-'));
  try {
    const outfile = join(folder, 'sim.mjs');
    await build({
      entryPoints: [join(root, 'src/sim/sim-cli.ts')],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      sourcemap: 'inline',
      logLevel: 'warning',
    });
    await run(process.execPath, ['--enable-source-maps', outfile, ...process.argv.slice(2)]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
