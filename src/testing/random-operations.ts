// Random reads, writes, zeroes, discards and flushes against a byte model, several at a time. Those
// under way together touch different bytes, perhaps of one block, so the outcome is certain.

import { IOVector } from '../base/io-vector.ts';
import { MemoryRegion } from '../base/memory-region.ts';
import type { Ret } from '../base/ret.ts';
import { REQ_FUA, REQ_MAY_UNMAP } from '../block/block-driver.ts';
import type { BlockNode } from '../block/block-node.ts';
import { ByteModel } from './model.ts';
import { Prng } from './prng.ts';

const MAX_BYTES = 70_000;

/**
 * Does `count` operations on `node`, which reads as zeroes, and checks every read and, at the end,
 * all of it. `model`, when given, is kept up to date instead of a new one. Throws plain Errors.
 */
export async function randomOperations(
  node: BlockNode,
  seed: number,
  count: number,
  model: ByteModel = new ByteModel(node.length),
): Promise<void> {
  const prng = new Prng(seed);
  for (let done = 0; done < count;) {
    const batch: Promise<void>[] = [];
    // Cut the disk in as many parts as requests go together.
    const together = 1 + prng.below(4);
    const part = Math.floor(node.length / together);
    const shift = prng.below(part);
    for (let i = 0; i < together && done < count; i++, done++) {
      const start = i * part + shift;
      const end = Math.min(start + part, node.length);
      if (start < end) batch.push(oneOperation(node, model, prng, start, end, done));
    }
    await Promise.all(batch);
  }
  const step = 1 << 20;
  for (let at = 0; at < node.length; at += step) {
    const actual = new Uint8Array(Math.min(step, node.length - at));
    expectOk(await node.preadv(at, IOVector.of(actual), 0), 'last read');
    model.check(at, actual, 'in the end');
  }
}

async function oneOperation(
  node: BlockNode,
  model: ByteModel,
  prng: Prng,
  start: number,
  end: number,
  number: number,
): Promise<void> {
  const size = Math.min(
    prng.chance(70) ? 4096 * (1 + prng.below(8)) : 1 + prng.below(MAX_BYTES),
    end - start,
  );
  let offset = start + prng.below(end - start - size + 1);
  if (prng.chance(60)) offset = Math.max(start, offset - (offset % 512));
  const what = `operation ${number} at ${offset}+${size}`;
  const kind = prng.below(10);
  if (kind < 4) {
    const vector = randomVector(prng, size);
    const flat = new Uint8Array(size);
    const ret = node.preadv(offset, vector, 0);
    expectOk(await ret, `read, ${what}`);
    vector.copyTo(flat);
    model.check(offset, flat, `read, ${what}`);
  } else if (kind < 7) {
    const vector = randomVector(prng, size);
    const flat = new Uint8Array(size);
    vector.copyTo(flat);
    model.write(offset, flat);
    expectOk(await node.pwritev(offset, vector, prng.chance(10) ? REQ_FUA : 0), `write, ${what}`);
  } else if (kind < 8) {
    model.zero(offset, size);
    const flags = prng.pick([0, REQ_MAY_UNMAP, REQ_FUA]);
    expectOk(await node.pwriteZeroes(offset, size, flags), `zeroes, ${what}`);
  } else if (kind < 9) {
    model.discard(offset, size);
    expectOk(await node.pdiscard(offset, size), `discard, ${what}`);
  } else {
    expectOk(await node.flush(), `flush, ${what}`);
  }
}

/** `size` bytes in up to five spans, with gaps, over random memory. */
function randomVector(prng: Prng, size: number): IOVector {
  const memory = prng.bytes(size + 100);
  const spans: number[] = [];
  let left = size;
  let at = prng.below(20);
  for (let i = 0; i < 4 && left > 1; i++) {
    const length = 1 + prng.below(left - 1);
    spans.push(at, length);
    at += length + prng.below(20);
    left -= length;
  }
  spans.push(at, left);
  return new IOVector(new MemoryRegion(memory), spans);
}

function expectOk(ret: Ret, what: string): void {
  if (ret < 0) throw new Error(`${what}: failed with ${ret}`);
}
