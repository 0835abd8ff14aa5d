// What every writable node must do: a list of cases for any test runner and for a browser's worker.

import { IOVector } from '../base/io-vector.ts';
import { MemoryRegion } from '../base/memory-region.ts';
import { EINVAL, EROFS } from '../base/ret.ts';
import type { Ret } from '../base/ret.ts';
import { REQ_FUA, REQ_MAY_UNMAP } from '../block/block-driver.ts';
import type { BlockNode } from '../block/block-node.ts';
import { check, equal, ok, read, same, write } from './checks.ts';
import { ByteModel } from './model.ts';
import { Prng } from './prng.ts';
import { randomOperations } from './random-operations.ts';

/** What a case works on. Made anew for each, and closed by who made it. */
export interface ConformanceApi {
  /** Zeroes all over; at least MIN_CONFORMANCE_BYTES long, a multiple of 512. */
  readonly node: BlockNode;
  /** Closes the image and opens it again; absent where nothing outlives a close. */
  readonly reopen?: (readOnly: boolean) => Promise<BlockNode>;
  /** For random parts; printed with every failure by `runConformance`. */
  readonly seed: number;
}

export interface ConformanceCase {
  readonly name: string;
  /** Left out where the image cannot do it. */
  readonly needs?: 'resize' | 'reopen';
  run(api: ConformanceApi): Promise<void>;
}

export const MIN_CONFORMANCE_BYTES: number = 256 * 1024;

/** Runs one case. Answers false when the image lacks what it needs. Throws an Error that has the seed. */
export async function runConformance(test: ConformanceCase, api: ConformanceApi): Promise<boolean> {
  if (test.needs === 'reopen' && api.reopen === undefined) return false;
  if (test.needs === 'resize' && api.node.state.truncate === undefined) return false;
  try {
    await test.run(api);
    return true;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${test.name} (seed ${api.seed}): ${why}`, { cause });
  }
}

export const conformanceCases: readonly ConformanceCase[] = [
  {
    name: 'geometry',
    async run({ node }) {
      const { length, limits } = node;
      check(length >= MIN_CONFORMANCE_BYTES && length % 512 === 0, `length ${length}`);
      check(length % limits.requestAlignment === 0, `length ${length} is no whole blocks`);
      check(!node.readOnly, 'writable');
    },
  },
  {
    name: 'a new image reads as zeroes',
    async run({ node }) {
      same(await read(node, 0, 65536), new Uint8Array(65536), 'start');
      same(await read(node, node.length - 4096, 4096), new Uint8Array(4096), 'end');
    },
  },
  {
    name: 'whole and partial sectors, first and last byte',
    async run({ node, seed }) {
      const prng = new Prng(seed);
      const model = new ByteModel(node.length);
      const ranges = [
        [0, 512], [0, 1], [511, 2], [4096, 4096], [4095, 4098], [65536 - 3, 7], [1000, 100_000],
        [node.length - 512, 512], [node.length - 1, 1], [node.length - 700, 600],
      ] as const; // prettier-ignore
      for (const [offset, bytes] of ranges) {
        const data = prng.bytes(bytes);
        ok(await write(node, offset, data), `write ${offset}+${bytes}`);
        model.write(offset, data);
        const from = Math.max(0, offset - 1000);
        const to = Math.min(node.length, offset + bytes + 1000);
        model.check(from, await read(node, from, to - from), `after ${offset}+${bytes}`);
      }
    },
  },
  {
    name: 'scatter-gather: pieces of any length, in any order in memory',
    async run({ node, seed }) {
      const prng = new Prng(seed);
      const memory = prng.bytes(20_000);
      const spans = [12_000, 1, 300, 511, 5000, 4096, 0, 100, 15_000, 1292];
      const out = new IOVector(new MemoryRegion(memory), spans);
      ok(await node.pwritev(3000, out, 0), 'write');
      const flat = new Uint8Array(out.size);
      out.copyTo(flat);
      same(await read(node, 3000, flat.length), flat, 'gathered');
      const back = new Uint8Array(20_000).fill(0xee);
      ok(await node.preadv(3000, new IOVector(new MemoryRegion(back), spans), 0), 'read');
      for (let i = 0; i < spans.length; i += 2) {
        const [start, length] = [spans[i]!, spans[i + 1]!];
        const expected = memory.subarray(start, start + length);
        same(back.subarray(start, start + length), expected, `span ${i / 2}`);
      }
      check(back[12_001] === 0xee && back[19_999] === 0xee, 'gaps are untouched');
    },
  },
  {
    name: 'requests of length zero succeed up to the end',
    async run({ node }) {
      for (const offset of [0, 7, node.length]) {
        ok(await write(node, offset, new Uint8Array(0)), `write at ${offset}`);
        ok(await node.preadv(offset, IOVector.of(new Uint8Array(0)), 0), `read at ${offset}`);
        ok(await node.pwriteZeroes(offset, 0, 0), `zeroes at ${offset}`);
        ok(await node.pdiscard(offset, 0), `discard at ${offset}`);
      }
    },
  },
  {
    name: 'beyond the end is EINVAL and changes nothing',
    async run({ node }) {
      const end = node.length;
      const ranges = [[end, 512], [end - 511, 512], [end + 512, 1], [2 ** 53, 512], [-512, 512],
        [-1, 1], [NaN, 512], [0.5, 512]] as const; // prettier-ignore
      for (const [offset, bytes] of ranges) {
        const data = new Uint8Array(bytes).fill(0xaa);
        equal(await write(node, offset, data), -EINVAL, `write ${offset}+${bytes}`);
        equal(await node.preadv(offset, IOVector.of(data), 0), -EINVAL, `read ${offset}`);
        equal(await node.pwriteZeroes(offset, bytes, 0), -EINVAL, `zeroes ${offset}`);
        equal(await node.pdiscard(offset, bytes), -EINVAL, `discard ${offset}`);
        check(
          data.every((byte) => byte === 0xaa),
          `buffer after read ${offset}`,
        );
      }
      equal(node.length, end, 'length');
      same(await read(node, end - 1024, 1024), new Uint8Array(1024), 'last bytes');
    },
  },
  ...[0, REQ_MAY_UNMAP].map((flags): ConformanceCase => ({
    name: flags === 0 ? 'write zeroes' : 'write zeroes that may unmap',
    async run({ node, seed }) {
      const prng = new Prng(seed);
      const model = new ByteModel(node.length);
      const data = prng.bytes(MIN_CONFORMANCE_BYTES);
      ok(await write(node, 0, data), 'fill');
      model.write(0, data);
      const ranges = [
        [65536, 65536],
        [512, 512],
        [1, 1],
        [4000, 5000],
        [150_001, 70_001],
      ] as const;
      for (const [offset, bytes] of ranges) {
        ok(await node.pwriteZeroes(offset, bytes, flags), `zeroes ${offset}+${bytes}`);
        model.zero(offset, bytes);
        model.check(0, await read(node, 0, data.length), `after zeroes ${offset}+${bytes}`);
      }
      ok(await node.pwriteZeroes(0, node.length, flags), 'zeroes all over');
      model.zero(0, node.length);
      model.check(0, await read(node, 0, data.length), 'after zeroes all over');
    },
  })),
  {
    name: 'discard leaves the old bytes or zeroes, and its neighbours alone',
    async run({ node, seed }) {
      const model = new ByteModel(node.length);
      const data = new Prng(seed).bytes(MIN_CONFORMANCE_BYTES);
      ok(await write(node, 0, data), 'fill');
      model.write(0, data);
      for (const [offset, bytes] of [
        [65536, 65536],
        [700, 300],
        [3, 140_000],
      ] as const) {
        ok(await node.pdiscard(offset, bytes), `discard ${offset}+${bytes}`);
        model.discard(offset, bytes);
        model.check(0, await read(node, 0, data.length), `after discard ${offset}+${bytes}`);
      }
      ok(await write(node, 65536, data.subarray(0, 65536)), 'write again');
      model.write(65536, data.subarray(0, 65536));
      model.check(0, await read(node, 0, data.length), 'after writing again');
    },
  },
  {
    name: 'FUA writes and flush succeed',
    async run({ node, seed }) {
      const data = new Prng(seed).bytes(5000);
      ok(await node.pwritev(1234, IOVector.of(data), REQ_FUA), 'FUA write');
      ok(await node.pwriteZeroes(20_000, 30_000, REQ_FUA), 'FUA zeroes');
      ok(await node.flush(), 'flush');
      same(await read(node, 1234, 5000), data, 'data');
    },
  },
  {
    name: 'block status covers the image in runs',
    async run({ node, seed }) {
      ok(await write(node, 65536, new Prng(seed).bytes(65536)), 'write');
      let runs = 0;
      for (let at = 0; at < node.length; runs++) {
        const status = await node.blockStatus(at, node.length - at);
        if (typeof status === 'number') throw new Error(`blockStatus at ${at}: ${status}`);
        check(
          status.bytes > 0 && at + status.bytes <= node.length,
          `run of ${status.bytes} at ${at}`,
        );
        if (status.zero) {
          const sample = Math.min(status.bytes, 65536);
          same(await read(node, at, sample), new Uint8Array(sample), `zero run at ${at}`);
        }
        at += status.bytes;
        check(runs < 100_000, 'too many runs');
      }
    },
  },
  {
    name: 'resize: new bytes read as zeroes, those cut off do not come back',
    needs: 'resize',
    async run({ node, seed }) {
      const before = node.length;
      const data = new Prng(seed).bytes(8192);
      ok(await write(node, before - 8192, data), 'write');
      ok(await node.truncate(before + 131_072), 'grow');
      equal(node.length, before + 131_072, 'length grown');
      same(await read(node, before - 8192, 8192), data, 'kept');
      same(await read(node, before, 131_072), new Uint8Array(131_072), 'new bytes');
      ok(await write(node, node.length - 512, data.subarray(0, 512)), 'write at the new end');
      const shrunk = await node.truncate(before - 4096);
      // A format may be able to grow only.
      if (shrunk < 0) return;
      equal(node.length, before - 4096, 'length shrunk');
      equal(await write(node, before - 4096, data.subarray(0, 512)), -EINVAL, 'write beyond');
      ok(await node.truncate(before), 'grow again');
      same(await read(node, before - 8192, 4096), data.subarray(0, 4096), 'kept again');
      same(await read(node, before - 4096, 4096), new Uint8Array(4096), 'cut off is gone');
    },
  },
  {
    name: 'concurrent overlapping writes: every sector is one of them, whole',
    async run({ node, seed }) {
      const prng = new Prng(seed);
      for (let round = 0; round < 20; round++) {
        const writes = Array.from({ length: 8 }, (_, i) => {
          const [offset, bytes] = [512 * prng.below(20), 512 * (1 + prng.below(20))];
          return { offset, bytes, value: round * 8 + i + 1 };
        });
        const rets = await Promise.all(
          writes.map((w) => write(node, w.offset, new Uint8Array(w.bytes).fill(w.value))),
        );
        rets.forEach((ret) => ok(ret, 'write'));
        const after = await read(node, 0, 512 * 40);
        for (let at = 0; at < after.length; at += 512) {
          const sector = after.subarray(at, at + 512);
          const value = sector[0]!;
          check(
            sector.every((byte) => byte === value),
            `round ${round}: torn sector at ${at}`,
          );
          const owners = writes.filter((w) => w.offset <= at && at < w.offset + w.bytes);
          const known = owners.length === 0 || owners.some((w) => w.value === value);
          check(known, `round ${round}: sector at ${at} has ${value} of nobody`);
        }
      }
    },
  },
  {
    name: 'concurrent writes to parts of one block all survive',
    async run({ node, seed }) {
      const data = new Prng(seed).bytes(4096);
      for (let step = 1; step <= 333; step = step * 3 + 1) {
        const pieces: Promise<Ret>[] = [];
        ok(await node.pwriteZeroes(0, 4096, 0), 'clear');
        for (let at = 0; at < 4096; at += step)
          pieces.push(write(node, at, data.subarray(at, at + step)));
        (await Promise.all(pieces)).forEach((ret) => ok(ret, 'write'));
        same(await read(node, 0, 4096), data, `pieces of ${step}`);
      }
    },
  },
  { name: '500 random operations', run: ({ node, seed }) => randomOperations(node, seed, 500) },
  {
    name: 'what was flushed is there after reopening, and read-only opening reads it',
    needs: 'reopen',
    async run({ node, seed, reopen }) {
      const data = new Prng(seed).bytes(100_000);
      ok(await write(node, 12_345, data), 'write');
      ok(await node.pwriteZeroes(20_000, 3000, REQ_FUA), 'zeroes');
      data.fill(0, 20_000 - 12_345, 23_000 - 12_345);
      ok(await node.flush(), 'flush');
      const again = await reopen!(false);
      same(await read(again, 12_345, data.length), data, 'reopened');
      ok(await write(again, 0, data.subarray(0, 1000)), 'write after reopening');
      const still = await reopen!(true);
      check(still.readOnly, 'read-only');
      same(await read(still, 0, 1000), data.subarray(0, 1000), 'closed without a flush of ours');
      same(await read(still, 12_345, data.length), data, 'read-only data');
      equal(await write(still, 0, data), -EROFS, 'write');
      equal(await still.pwriteZeroes(0, 512, 0), -EROFS, 'zeroes');
      equal(await still.pdiscard(0, 512), -EROFS, 'discard');
      equal(await still.truncate(0), -EROFS, 'truncate');
      ok(await still.flush(), 'flush');
    },
  },
];
