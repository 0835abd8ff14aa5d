// What every read-only node must do, when its contents are known: for drivers that cannot write.

import { IOVector } from '../base/io-vector.ts';
import { EINVAL, EROFS } from '../base/ret.ts';
import type { BlockNode } from '../block/block-node.ts';
import { Prng } from './prng.ts';

/** Checks `node`, opened on an image that holds `expected`. Throws plain Errors that have the seed. */
export async function checkReadOnly(
  node: BlockNode,
  expected: Uint8Array,
  seed: number,
): Promise<void> {
  const prng = new Prng(seed);
  const fail = (what: string): never => {
    throw new Error(`${what} (seed ${seed})`);
  };
  const read = async (offset: number, bytes: number): Promise<void> => {
    const target = new Uint8Array(bytes).fill(0xdb);
    const ret = await node.preadv(offset, IOVector.of(target), 0);
    if (ret < 0) fail(`read ${offset}+${bytes}: failed with ${ret}`);
    const at = target.findIndex((byte, i) => byte !== expected[offset + i]);
    if (at >= 0) fail(`read ${offset}+${bytes}: byte ${offset + at} is ${target[at]}`);
  };
  if (!node.readOnly) fail('the node is not read-only');
  if (node.length !== expected.length) fail(`length ${node.length}, not ${expected.length}`);
  await read(0, node.length);
  await read(0, 0);
  await read(node.length, 0);
  await read(node.length - 1, 1);
  for (let i = 0; i < 100; i++) {
    const offset = prng.below(node.length);
    await read(offset, prng.below(Math.min(100_000, node.length - offset) + 1));
  }
  const several = Array.from({ length: 32 }, () => {
    const offset = prng.below(node.length);
    return read(offset, prng.below(Math.min(20_000, node.length - offset) + 1));
  });
  await Promise.all(several);
  const sector = IOVector.of(new Uint8Array(512));
  const answers = [
    ['read beyond the end', await node.preadv(node.length, sector, 0), -EINVAL],
    ['read across the end', await node.preadv(node.length - 1, sector, 0), -EINVAL],
    ['write', await node.pwritev(0, sector, 0), -EROFS],
    ['zeroes', await node.pwriteZeroes(0, 512, 0), -EROFS],
    ['discard', await node.pdiscard(0, 512), -EROFS],
    ['truncate', await node.truncate(0), -EROFS],
    ['flush', await node.flush(), 0],
  ] as const;
  for (const [what, actual, wanted] of answers) {
    if (actual !== wanted) fail(`${what}: ${actual}, not ${wanted}`);
  }
}
