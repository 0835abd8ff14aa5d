// Where the benchmark runs. Whether the profile is a persistent one no API says, but the time of a
// read from OPFS does: in a private window each goes through another process.

import type { Machine } from './row.ts';
import { removeFile } from './opfs-files.ts';
import { startSyncHandle } from './workers.ts';

const FILE = 'bench-probe.img';
const BYTES = 1024 * 1024;
const PROBE_NS = 50e6;
/** A 4 KiB read from a file on disk takes 1 to 20 µs, in a private window 200 to 400. */
const SLOW_READ_NS = 100_000;

export async function describeMachine(pinned: boolean): Promise<Machine> {
  const probe = startSyncHandle();
  try {
    await probe.control.fill(FILE, BYTES);
    await probe.control.open(FILE);
    const { requests, ns } = await probe.control.run(PROBE_NS);
    await probe.control.close();
    const opfsReadNs = ns / requests;
    return {
      browser: browserName(),
      cores: navigator.hardwareConcurrency,
      crossOriginIsolated,
      persistentProfile: opfsReadNs < SLOW_READ_NS,
      opfsReadNs,
      pinned,
    };
  } finally {
    probe.terminate();
    await removeFile(FILE);
  }
}

function browserName(): string {
  const found = /(?:Headless)?(Chrome|Firefox)\/[\d.]+/.exec(navigator.userAgent);
  return found === null ? navigator.userAgent : found[0];
}
