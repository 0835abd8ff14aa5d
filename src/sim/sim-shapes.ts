// What disks the simulation is made of: small ones, so that a few requests fill tables, grow refcounts
// and touch one another.

import type { OptionTree } from '../base/options.ts';
import type { Prng } from '../testing/prng.ts';
import { BASE, ZERO } from './sector-value.ts';

const KIB = 1024;

export interface SimShape {
  readonly name: string;
  /** Of the disk, and of the backing image below it; 0 for none. */
  readonly bytes: number;
  readonly baseBytes: number;
  /** What the guest takes for the unit of allocation, bytes. */
  readonly cluster: number;
  /** Of storage. */
  readonly alignment: number;
  /** How the image is made; undefined for a raw one. */
  readonly create: OptionTree | undefined;
  /** Whether the backing image is on the web server. */
  readonly overHttp: boolean;
  /** How it is opened, over that one of BACKINGS. */
  readonly options: (prng: Prng, backing: number) => OptionTree;
}

/** Options of backing image `backing` as node `name`; null for none. */
export function backingOptions(
  backing: number,
  name: string,
  overHttp: boolean,
  prng: Prng,
): OptionTree | null {
  if (backing === ZERO) return null;
  const common = { 'node-name': name, 'read-only': true };
  if (backing === BASE && overHttp) {
    return {
      ...common,
      driver: 'http',
      url: 'http://simulated/base',
      'chunk-size': 4096,
      'cache-size': 4 * 4096,
      readahead: prng.pick([0, 8192]),
      timeout: 2,
    };
  }
  return { ...common, driver: 'raw', file: { driver: 'sim-storage', disk: fileOf(backing) } };
}

/** The name of the file in storage that one of BACKINGS is, unless it is on the web server. */
export function fileOf(backing: number): string {
  return backing === BASE ? 'base' : 'other';
}

/** One of all. */
export function pickShape(prng: Prng): SimShape {
  const alignment = prng.pick([1, 1, 512]);
  const top = { driver: 'sim-storage', disk: 'top' };
  if (prng.chance(8)) {
    const options = (): OptionTree => ({ driver: 'raw', 'node-name': 'disk', file: top });
    const [bytes, cluster] = [32 * KIB, 4 * KIB];
    const raw = { baseBytes: 0, create: undefined, overHttp: false };
    return { name: 'raw', bytes, cluster, alignment, ...raw, options };
  }
  const cluster = prng.pick([512, 512, 1024, 4 * KIB]);
  const bytes = cluster * (16 + prng.below(80));
  const based = prng.chance(65);
  const create: OptionTree = {
    cluster_size: cluster,
    refcount_bits: prng.pick([1, 16, 16, 64]),
    lazy_refcounts: prng.chance(30),
    ...(based ? { backing_file: 'base', backing_fmt: 'raw' } : {}),
  };
  const overHttp = based && prng.chance(40);
  return {
    name: overHttp ? 'qcow2 over http' : based ? 'qcow2 over raw' : 'qcow2',
    bytes,
    baseBytes: based ? prng.pick([bytes, 512 * (1 + prng.below(bytes / 512))]) : 0,
    cluster,
    alignment,
    create,
    overHttp,
    options: (chance, backing) => ({
      driver: 'qcow2',
      'node-name': 'disk',
      file: top,
      backing: backingOptions(backing, 'base', overHttp, chance),
      ...(chance.chance(50) ? { 'l2-cache-size': 0, 'refcount-cache-size': 0 } : {}),
    }),
  };
}
