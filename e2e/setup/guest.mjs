// `npm run guest`: builds the guest, or says where it lies; `--force` builds it anew.

import { rmSync } from 'node:fs';
import { ensureGuest } from './ensure-guest.mjs';
import { guestFolder } from './guest-folder.mjs';
import { runMain, stage } from './shell.mjs';

await runMain(async () => {
  if (process.argv.includes('--force')) rmSync(guestFolder(), { recursive: true, force: true });
  await stage('guest', ensureGuest);
});
