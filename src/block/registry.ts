// Every driver by the value of `driver=`, loaded when first opened, so that a page pays only for the
// formats it uses: the package's build makes a file of each `import()` here, but for the four that
// most pages open. A driver that needs a certain host is registered by that host's entry.

import type { BlockDriver } from './block-driver.ts';
import { BlockError } from './block-error.ts';

export interface DriverEntry {
  readonly kind: 'protocol' | 'format' | 'filter';
  readonly load: () => Promise<{ readonly driver: BlockDriver }>;
}

const entries = new Map<string, DriverEntry>([
  ['raw', { kind: 'format', load: () => import('./formats/raw.ts') }],
  ['qcow2', { kind: 'format', load: () => import('./formats/qcow2/qcow2.ts') }],
  ['opfs', { kind: 'protocol', load: () => import('./protocols/opfs.ts') }],
  ['idb', { kind: 'protocol', load: () => import('./protocols/idb.ts') }],
  ['blob', { kind: 'protocol', load: () => import('./protocols/blob.ts') }],
  ['http', { kind: 'protocol', load: () => import('./protocols/http.ts') }],
  ['memory', { kind: 'protocol', load: () => import('./protocols/memory.ts') }],
  ['copy-on-read', { kind: 'filter', load: () => import('./filters/copy-on-read.ts') }],
  ['null-co', { kind: 'protocol', load: () => import('./protocols/null-co.ts') }],
]);

/**
 * Adds a driver, or puts another in the place of one: an entry's business, or a test's. What loads
 * it is enough for a protocol.
 */
export function registerDriver(name: string, entry: DriverEntry | DriverEntry['load']): void {
  entries.set(name, typeof entry === 'function' ? { kind: 'protocol', load: entry } : entry);
}

/** Answers what puts all drivers back to what they are now: for tests. */
export function keepDrivers(): () => void {
  const kept = [...entries];
  return () => {
    entries.clear();
    for (const [name, entry] of kept) entries.set(name, entry);
  };
}

export function isRegistered(name: string): boolean {
  return entries.has(name);
}

/** Names of the drivers of `kind`, or of all. */
export function driverNames(kind?: DriverEntry['kind']): string[] {
  const named = [...entries].filter(([, entry]) => kind === undefined || entry.kind === kind);
  return named.map(([name]) => name);
}

/** Throws BlockError: EINVAL for a name nobody registered, ENOENT or EIO when the code does not load. */
export async function loadDriver(name: string): Promise<BlockDriver> {
  const entry = entries.get(name);
  if (entry === undefined) {
    const known = driverNames().sort().join(', ');
    throw new BlockError('EINVAL', `unknown driver '${name}'; known: ${known}`);
  }
  try {
    return (await entry.load()).driver;
  } catch (cause) {
    if (cause instanceof BlockError) throw cause; // It knows the file.
    throw new BlockError('EIO', `cannot load the code of driver '${name}': ${String(cause)}`, {
      cause,
    });
  }
}
