// What disks the simulation is made of: small ones, so that a few requests fill tables, grow refcounts
// and touch one another.

import type { OptionTree } from '../base/options.ts';
import type { Prng } from '../testing/prng.ts';

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
  /** How it is opened. */
  readonly options: (prng: Prng) => OptionTree;
}

/** One of all. */
export function pickShape(prng: Prng): SimShape {
  const alignment = prng.pick([1, 1, 512]);
  const top = { driver: 'sim-storage', disk: 'top' };
  if (prng.chance(8)) {
    const options = (): OptionTree => ({ driver: 'raw', 'node-name': 'disk', file: top });
    const [bytes, cluster] = [32 * KIB, 4 * KIB];
    return { name: 'raw', bytes, baseBytes: 0, cluster, alignment, create: undefined, options };
  }
  const cluster = prng.pick([512, 512, 1024, 4 * KIB]);
  const bytes = cluster * (16 + prng.below(80));
  const based = prng.chance(40);
  const create: OptionTree = {
    cluster_size: cluster,
    refcount_bits: prng.pick([1, 16, 16, 64]),
    lazy_refcounts: prng.chance(30),
    ...(based ? { backing_file: 'base', backing_fmt: 'raw' } : {}),
  };
  const overHttp = based && prng.chance(50);
  const base: OptionTree = overHttp
    ? {
        driver: 'http',
        'node-name': 'base',
        url: 'http://simulated/base',
        'chunk-size': 4096,
        'cache-size': 4 * 4096,
        readahead: prng.pick([0, 8192]),
        timeout: 2,
      }
    : { driver: 'raw', 'node-name': 'base', file: { driver: 'sim-storage', disk: 'base' } };
  return {
    name: overHttp ? 'qcow2 over http' : based ? 'qcow2 over raw' : 'qcow2',
    bytes,
    baseBytes: based ? prng.pick([bytes, 512 * (1 + prng.below(bytes / 512))]) : 0,
    cluster,
    alignment,
    create,
    options: (chance) => ({
      driver: 'qcow2',
      'node-name': 'disk',
      file: top,
      backing: based ? base : null,
      ...(chance.chance(50) ? { 'l2-cache-size': 0, 'refcount-cache-size': 0 } : {}),
    }),
  };
}
