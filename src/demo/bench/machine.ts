// Where the benchmark runs. Whether the profile is a persistent one no API says, but the time of a
// read from OPFS does: in a private window each goes through another process.

import type { Machine } from './row.ts';
import { removeFile } from './opfs-files.ts';
import { startSyncHandle } from './workers.ts';
import { READ_4K } from './workload.ts';

const FILE = 'bench-probe.img';
const BYTES = 1024 * 1024;
const PROBE_NS = 50e6;
/** A 4 KiB read from a file on disk takes 1 to 20 µs, in a private window 200 to 400. */
const SLOW_READ_NS = 100_000;

/** What TypeScript's DOM library lacks: Chromium alone has it. */
interface UserAgentData {
  getHighEntropyValues(hints: readonly string[]): Promise<{
    readonly fullVersionList?: readonly { readonly brand: string; readonly version: string }[];
  }>;
}

export async function describeMachine(pinned: boolean): Promise<Machine> {
  const probe = startSyncHandle();
  try {
    await probe.control.fill(FILE, BYTES);
    await probe.control.open(FILE, READ_4K);
    const { requests, ns } = await probe.control.run(PROBE_NS);
    await probe.control.close();
    const opfsReadNs = ns / requests;
    return {
      browser: await browserName(),
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

/** What the browser calls itself, with the full version where it tells one. */
async function browserName(): Promise<string> {
  const { userAgentData } = navigator as Navigator & { readonly userAgentData?: UserAgentData };
  const hints = await userAgentData?.getHighEntropyValues(['fullVersionList']);
  const brand = hints?.fullVersionList?.find((entry) => entry.brand.includes('Chrom'));
  if (brand !== undefined) return `${brand.brand} ${brand.version}`;
  return /(?:Chrome|Firefox|Version)\/[\d.]+/.exec(navigator.userAgent)?.[0] ?? 'unknown browser';
}
