// Finds out an image's format from its first 512 bytes (QEMU's rules: every format says how sure it
// is, the highest wins; raw is sure of nothing and always there).

import { IOVector } from '../base/io-vector.ts';
import type { BlockDriver, HeadGuard } from './block-driver.ts';
import { PROBE_BYTES } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import type { BlockNode } from './block-node.ts';
import { driverNames, loadDriver } from './registry.ts';

/** What was found. */
export interface Probed {
  readonly driver: string;
  /** Set when it is raw for want of anything better. */
  readonly headGuard: HeadGuard | undefined;
}

/** Reads the head of `file` and asks every format. Throws BlockError when it cannot be read. */
export async function probeImage(file: BlockNode): Promise<Probed> {
  const formats = await Promise.all(driverNames('format').map((name) => loadDriver(name)));
  const head = new Uint8Array(Math.min(PROBE_BYTES, file.length));
  const ret = await file.preadv(0, IOVector.of(head), 0);
  if (ret < 0) {
    throw BlockError.fromRet(ret, `node '${file.name}': cannot read the image's start`, file.name);
  }
  const driver = likeliest(formats, head) ?? 'raw';
  if (driver !== 'raw') return { driver, headGuard: undefined };
  return { driver, headGuard: (changed) => likeliest(formats, changed) };
}

/** Tells that `filename` was guessed to be raw and is writable. */
export function guessedRaw(filename: string): string {
  return (
    `${filename}: no known format, so taken as raw; writes that would make it look ` +
    "like another format are refused (driver: 'raw' lifts that)"
  );
}

/** What `probeImage` answers for a format that was guessed to be raw before. */
export async function headGuard(): Promise<HeadGuard> {
  const formats = await Promise.all(driverNames('format').map((name) => loadDriver(name)));
  return (changed) => likeliest(formats, changed);
}

/** The format, other than raw, that is surest of `head`. */
function likeliest(formats: readonly BlockDriver[], head: Uint8Array): string | undefined {
  let best: string | undefined;
  let score = 1;
  for (const format of formats) {
    const sure = format.name === 'raw' ? 0 : (format.probe?.(head) ?? 0);
    if (sure > score) [best, score] = [format.name, sure];
  }
  return best;
}
