// The blob driver over real Blobs, and over one whose slices a test holds back or breaks.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { ECANCELED, EIO, OK } from '../../base/ret.ts';
import { openContext } from '../../testing/open-context.ts';
import type { TestOpenContext } from '../../testing/open-context.ts';
import { Prng } from '../../testing/prng.ts';
import { checkReadOnly } from '../../testing/read-only-conformance.ts';
import { testContext } from '../../testing/test-context.ts';
import type { DriverState } from '../block-driver.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { driver } from './blob.ts';

const K = 1024;
const SEED = 20_261_122;
const CHUNK = 64 * K;

/** A Blob whose slices are read when the test says so. */
class SlowBlob extends Blob {
  readonly asked: number[] = [];
  readonly waiting: { resolve: (bytes: ArrayBuffer) => void; reject: (error: Error) => void }[] =
    [];

  override slice(start: number, end: number): Blob {
    const real = super.slice(start, end);
    this.asked.push(start);
    const arrayBuffer = (): Promise<ArrayBuffer> =>
      new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
    return Object.assign(real, { arrayBuffer });
  }
}

const read = (state: DriverState, offset: number, bytes: number): number | Promise<number> =>
  state.preadv(offset, IOVector.of(new Uint8Array(bytes)), 0);

async function open(
  blob: Blob,
  raw: Record<string, unknown> = {},
  context: TestOpenContext = openContext({ readOnly: true }),
): Promise<DriverState> {
  return driver.open(context, driver.parseOptions({ blob, 'chunk-size': '64K', ...raw }));
}

describe('blob', () => {
  it.each([
    ['with a large cache', {}],
    ['with a cache of one chunk', { 'cache-size': '64K', 'chunk-size': '64K' }],
  ])('reads what the blob has, %s', async (_name, options) => {
    const image = new Prng(SEED).bytes(2 ** 20 + 512);
    const context = testContext();
    const graph = new Graph(context);
    const file = { driver: 'blob', blob: new Blob([image]), ...options };
    // Nobody asked for read-only: it becomes so by itself.
    const node = await openGraph(graph, { driver: 'raw', 'node-name': 'top', file });
    await checkReadOnly(node, image, SEED);
    await graph.blockdevDel('top');
    expect(context.hostWork).toBe(0);
  });

  it('reads a chunk once, four at a time, and answers at once from then on', async () => {
    const blob = new SlowBlob([new Uint8Array(10 * CHUNK)]);
    const state = await open(blob);
    const reads = [read(state, 0, 10 * CHUNK), read(state, 5, CHUNK), read(state, 9 * CHUNK, 512)];
    expect(blob.asked).toEqual([0, 1, 2, 3].map((chunk) => chunk * CHUNK));
    for (let i = 0; i < 10; i++) {
      blob.waiting[i]!.resolve(new ArrayBuffer(CHUNK));
      await new Promise((resolve) => setTimeout(resolve, 0));
      expect(blob.asked).toHaveLength(Math.min(10, 5 + i));
    }
    for (const waiting of reads) expect(await waiting).toBe(OK);
    expect(read(state, 100, 9 * CHUNK)).toBe(OK);
    expect(state.counters!()).toMatchObject({ reads: 10, cacheMemory: 10 * CHUNK });
    await state.close();
  });

  it('is -EIO with one notice when the file changed, and keeps what it has', async () => {
    const blob = new SlowBlob([new Uint8Array(4 * CHUNK)]);
    const context = openContext({ readOnly: true });
    const state = await open(blob, {}, context);
    const fine = read(state, 0, 512);
    blob.waiting.pop()!.resolve(new ArrayBuffer(CHUNK));
    expect(await fine).toBe(OK);
    for (const error of [
      Object.assign(new Error('changed'), { name: 'NotReadableError' }),
      Object.assign(new Error('removed'), { name: 'NotFoundError' }),
    ]) {
      const target = new Uint8Array(512).fill(0xdb);
      const failing = state.preadv(CHUNK, IOVector.of(target), 0);
      blob.waiting.pop()!.reject(error);
      expect(await failing).toBe(-EIO);
      expect(target.every((byte) => byte === 0xdb)).toBe(true);
    }
    const short = read(state, CHUNK, 512);
    blob.waiting.pop()!.resolve(new ArrayBuffer(CHUNK - 1));
    expect(await short).toBe(-EIO);
    expect(context.notices).toEqual([expect.stringMatching(/NotReadableError.*choose it again/)]);
    expect(read(state, 0, 512)).toBe(OK);
    expect(state.counters!()).toMatchObject({ failures: 3 });
    await state.close();
  });

  it('ends what waits when it is canceled, and does not touch its memory later', async () => {
    const blob = new SlowBlob([new Uint8Array(8 * CHUNK)]);
    const state = await open(blob);
    const target = new Uint8Array(8 * CHUNK).fill(0xdb);
    const waiting = state.preadv(0, IOVector.of(target), 0);
    state.cancelInFlight!();
    expect(await waiting).toBe(-ECANCELED);
    for (const { resolve } of blob.waiting.splice(0)) resolve(new ArrayBuffer(CHUNK));
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(target.every((byte) => byte === 0xdb)).toBe(true);
    expect(blob.asked).toHaveLength(4);
    expect(read(state, 0, 4 * CHUNK)).toBe(OK);
    await state.close();
    expect(read(state, 0, 512)).toBe(-EIO);
  });

  it.each([
    [{}, /'blob' must be a Blob or a File/],
    [{ blob: 'text' }, /'blob'/],
    [{ blob: new Blob([]), 'chunk-size': 100_000 }, /power of two/],
    [{ blob: new Blob([]), 'cache-size': 1000 }, /cache-size/],
    [{ blob: new Blob([]), x: 1 }, /unknown option 'x'/],
  ])('refuses the options %#', (raw, message) => {
    expect(() => driver.parseOptions(raw)).toThrow(message);
  });
});
