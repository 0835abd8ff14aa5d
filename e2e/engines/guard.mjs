// Ends what tests have started, when the tests end, however they end: a process of its own that reads
// what there is to clean up, one line each (`group PID`, `folder PATH`; with a `-` before it, no
// more), and does that when its input ends, as it does when the process at the other end is killed.

import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';

const groups = new Set();
const folders = new Set();

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const [, minus, kind, name] = /^(-?)(group|folder) (.+)$/.exec(line) ?? [];
  const set = kind === 'group' ? groups : folders;
  if (minus === '-') set.delete(name);
  else if (name !== undefined) set.add(name);
});
lines.on('close', () => {
  for (const group of groups) {
    try {
      process.kill(-Number(group), 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
  for (const folder of folders) {
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
});
// Ctrl-C reaches us as well; the end of our input comes right after it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
