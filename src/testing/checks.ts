// Checks for cases that run under any test runner and in workers: they throw plain Errors that say
// what was expected and what was there.

import { IOVector } from '../base/io-vector.ts';
import type { Ret } from '../base/ret.ts';
import type { BlockNode } from '../block/block-node.ts';

/** Reads a range; throws when it fails. The buffer starts out dirty. */
export async function read(node: BlockNode, offset: number, bytes: number): Promise<Uint8Array> {
  const target = new Uint8Array(bytes).fill(0xdb);
  ok(await node.preadv(offset, IOVector.of(target), 0), `read ${offset}+${bytes}`);
  return target;
}

/** Writes a range. */
export async function write(node: BlockNode, offset: number, data: Uint8Array): Promise<Ret> {
  return node.pwritev(offset, IOVector.of(data), 0);
}

/** Throws when `condition` is false. */
export function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`does not hold: ${what}`);
}

/** Throws when `ret` is a negated errno. */
export function ok(ret: number, what: string): void {
  if (ret < 0) throw new Error(`${what}: failed with ${ret}`);
}

/** Throws unless the numbers are the same. */
export function equal(actual: number, expected: number, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${actual}, not ${expected}`);
}

/** Throws at the first byte that differs. */
export function same(actual: Uint8Array, expected: Uint8Array, what: string): void {
  equal(actual.length, expected.length, `${what}: length`);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  if (at >= 0) throw new Error(`${what}: byte ${at} is ${actual[at]}, not ${expected[at]}`);
}
