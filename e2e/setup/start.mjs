// `npm start`: the workbench page on this machine, from a bare checkout. Without the Linux guest (no
// Debian packages to be had, say) the page boots its embedded guest, and disks of one's own.

import { ensureDependencies } from './dependencies.mjs';
import { ensureGuest } from './ensure-guest.mjs';
import { freePort } from './free-port.mjs';
import { runInstalled, runMain, say, SetupError, stage } from './shell.mjs';
import { ensureWasm } from './wasm.mjs';

const USUAL_PORT = 5173;

await runMain(async () => {
  await stage('set-up', async () => {
    await ensureDependencies();
    await ensureWasm();
    try {
      await ensureGuest();
    } catch (error) {
      if (!(error instanceof SetupError)) throw error;
      say(`guest: NOT THERE, so the page boots its embedded one: ${error.message}`);
    }
  });
  const port = await freePort(USUAL_PORT);
  console.log(`\nThe workbench: http://127.0.0.1:${port}/  (Ctrl-C ends it)\n`);
  // Ctrl-C reaches Vite as well, which ends by it; we then end because it has.
  process.on('SIGINT', () => {});
  await runInstalled(
    'vite/bin/vite.js',
    ['--port', String(port), '--strictPort', '--logLevel', 'warn'],
    {
      mayFail: true,
    },
  );
});
