// The conformance list over qcow2 on a disk that answers at once, and on one that answers late and
// out of order; with and without a backing file.

import { describe, expect, it } from 'vitest';
import { conformanceCases, runConformance } from '../../../testing/conformance.ts';
import type { ConformanceApi } from '../../../testing/conformance.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { createQcow2, openQcow2, protocolNode } from '../../../testing/qcow2-images.ts';
import type { BlockNode } from '../../block-node.ts';

const SIZE = 2 ** 20 + 2 ** 18 + 512;
const SEED = 20_261_122;

async function api(
  create: Record<string, unknown>,
  late: boolean,
  backing: boolean,
): Promise<ConformanceApi> {
  const made = new SimDisk(new Uint8Array(0));
  const over = backing ? { backing_file: 'zeroes' } : {};
  await createQcow2(made, SIZE, { ...create, ...over });
  let bytes = made.snapshot();
  let disk: SimDisk;
  const open = async (readOnly: boolean): Promise<BlockNode> => {
    const answers = late ? { late: new Prng(SEED) } : {};
    disk = new SimDisk(bytes, answers);
    // Below are zeroes, but qcow2 does not know.
    const below = backing
      ? protocolNode(new SimDisk(new Uint8Array(700_000 - (700_000 % 512)), answers), true, 'base')
      : undefined;
    return (await openQcow2(disk, { readOnly, backing: below })).node;
  };
  let node = await open(false);
  const first = node;
  const reopen = async (readOnly: boolean): Promise<BlockNode> => {
    await node.close();
    bytes = disk.snapshot();
    node = await open(readOnly);
    return node;
  };
  return { node: first, seed: SEED, reopen };
}

const subjects: Record<string, () => Promise<ConformanceApi>> = {
  'at once': () => api({}, false, false),
  'at once, 512-byte clusters': () => api({ cluster_size: 512 }, false, false),
  'at once, over a backing file': () => api({}, false, true),
  'version 2, over a backing file': () => api({ compat: '0.10' }, false, true),
  'late, 4 KiB clusters, over a backing file': () => api({ cluster_size: 4096 }, true, true),
  'late, lazy refcounts': () => api({ lazy_refcounts: true }, true, false),
};

describe.each(Object.keys(subjects))('qcow2 conformance: %s', (name) => {
  it.each(conformanceCases.map((test) => [test.name, test] as const))('%s', async (_name, test) => {
    const made = await subjects[name]!();
    expect(await runConformance(test, made)).toBe(true);
  });
});
