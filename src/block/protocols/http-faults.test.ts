// Everything a server may do wrong: each way ends in right bytes or in -EIO within the time limit,
// never in zeroes, never in a hang, and never stays in the cache.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Fault } from '../../../e2e/server/fault.ts';
import { startImageServer } from '../../../e2e/server/image-server.ts';
import type { ImageServer } from '../../../e2e/server/image-server.ts';
import { IOVector } from '../../base/io-vector.ts';
import { EIO, OK } from '../../base/ret.ts';
import { fastContext } from '../../testing/fast-context.ts';
import { openContext } from '../../testing/open-context.ts';
import type { TestOpenContext } from '../../testing/open-context.ts';
import { Prng } from '../../testing/prng.ts';
import { BlockError } from '../block-error.ts';
import type { DriverState } from '../block-driver.ts';
import { driver } from './http.ts';

const SEED = 0xfa17;
const SIZE = 2 * 1024 * 1024;
const CHUNK = 64 * 1024;
/** The clock's speed, and the time limit of a request in its seconds, where a test waits for it. */
const FACTOR = 20;
const TIMEOUT = 5;
const image = new Prng(SEED).bytes(SIZE);
let server: ImageServer;

beforeAll(async () => {
  server = await startImageServer({ files: [['/a.img', { bytes: image }]] });
});
afterAll(() => server.close());
beforeEach(() => {
  server.setFault('/a.img', undefined);
  server.setFile('/a.img', { bytes: image });
});

interface Opened {
  readonly state: DriverState;
  readonly context: TestOpenContext;
}

async function open(timeout = 100, path = '/a.img'): Promise<Opened> {
  const context = openContext({ readOnly: true, aioContext: fastContext(FACTOR) });
  const options = driver.parseOptions({
    url: server.url + path,
    readahead: 0,
    timeout,
  });
  const state = await driver.open(context, options);
  server.resetStats();
  return { state, context };
}

async function openFailure(fault: Fault): Promise<BlockError> {
  server.setFault('/a.img', fault);
  const error: unknown = await open(fault.kind === 'hang' ? TIMEOUT : 100).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(BlockError);
  return error as BlockError;
}

/** Reads one chunk at `offset`; checks the bytes when it succeeds. */
async function readChunk(state: DriverState, offset: number): Promise<number> {
  const target = new Uint8Array(CHUNK);
  const ret = await state.preadv(offset, IOVector.of(target), 0);
  const same = Buffer.compare(target, image.subarray(offset, offset + CHUNK)) === 0;
  if (ret === OK) expect(same, 'right bytes').toBe(true);
  return ret;
}

const ranges = (): (string | undefined)[] => server.log.map((entry) => entry.range);

describe('faults that pass', () => {
  const cases: [string, Fault, { requests: number; retries: number; resumeAt?: number }][] = [
    ['status 500 twice', { kind: 'status', times: 2 }, { requests: 3, retries: 2 }],
    ['429', { kind: 'status', status: 429, times: 1 }, { requests: 2, retries: 1 }],
    ['a refused connection', { kind: 'refuse', times: 1 }, { requests: 2, retries: 1 }],
    ['no answer', { kind: 'hang', times: 1 }, { requests: 2, retries: 1 }],
    [
      'a broken connection',
      { kind: 'reset', bytes: 10000, times: 1 },
      { requests: 2, retries: 1, resumeAt: 8192 },
    ],
    [
      'a body cut short',
      { kind: 'truncate', bytes: 20000, times: 1 },
      { requests: 2, retries: 1, resumeAt: 16384 },
    ],
    [
      'a stalled body',
      { kind: 'stall', bytes: 30000, times: 1 },
      { requests: 2, retries: 1, resumeAt: 28672 },
    ],
    ['a stray 200', { kind: 'ignore-range', times: 1 }, { requests: 2, retries: 1 }],
    ['a missing ETag', { kind: 'no-etag', times: 1 }, { requests: 2, retries: 1 }],
    [
      'a wrong Content-Range',
      { kind: 'wrong-content-range', times: 1 },
      { requests: 2, retries: 1 },
    ],
    ['honest parts', { kind: 'short-range', bytes: 8192 }, { requests: 8, retries: 0 }],
  ];
  it.each(cases)('%s: right bytes after all', async (_name, fault, expected) => {
    const waits = fault.kind === 'hang' || fault.kind === 'stall';
    const { state } = await open(waits ? TIMEOUT : 100);
    const retries = state.counters!()['retries']!;
    server.setFault('/a.img', fault);
    expect(await readChunk(state, CHUNK)).toBe(OK);
    expect(server.stats.requests).toBe(expected.requests);
    expect(state.counters!()['retries']! - retries).toBe(expected.retries);
    if (expected.resumeAt !== undefined) {
      const from = Number(/bytes=(\d+)-/.exec(ranges()[1]!)?.[1]);
      // What came before the connection broke may have been lost on the way, but no more than that.
      expect(from % 4096).toBe(0);
      expect(from).toBeLessThanOrEqual(CHUNK + expected.resumeAt);
      if (fault.kind !== 'reset') expect(from).toBe(CHUNK + expected.resumeAt);
    }
    await state.close();
  });

  it('waits as long as Retry-After asks', async () => {
    const { state, context } = await open();
    server.setFault('/a.img', { kind: 'status', status: 503, retryAfter: 3, times: 1 });
    const start = context.aioContext.now();
    expect(await readChunk(state, 0)).toBe(OK);
    expect(context.aioContext.now() - start).toBeGreaterThanOrEqual(3e9);
  });
});

describe('faults that stay', () => {
  const cases: [string, Fault, number][] = [
    ['status 500', { kind: 'status' }, 5],
    ['status 404', { kind: 'status', status: 404 }, 1],
    ['429 for an hour', { kind: 'status', status: 429, retryAfter: 3600 }, 1],
    ['refused connections', { kind: 'refuse' }, 5],
    ['empty bodies', { kind: 'truncate' }, 5],
    ['resets before the body', { kind: 'reset' }, 5],
    ['200', { kind: 'ignore-range' }, 5],
    ['gzip', { kind: 'gzip' }, 1],
    ['a wrong Content-Range', { kind: 'wrong-content-range' }, 5],
    ['no total', { kind: 'no-total' }, 1],
    ['no ETag any more', { kind: 'no-etag' }, 5],
    ['crumbs', { kind: 'short-range', bytes: 100 }, 5],
  ];
  it.each(cases)('%s: -EIO, and right bytes once it is over', async (_name, fault, requests) => {
    const { state, context } = await open();
    expect(await readChunk(state, 0)).toBe(OK);
    server.resetStats();
    server.setFault('/a.img', fault);
    expect(await readChunk(state, CHUNK)).toBe(-EIO);
    expect(server.stats.requests).toBe(requests);
    expect(state.info?.()['lastError']).toEqual(expect.any(String));
    // What the cache holds is not affected.
    expect(typeof state.preadv(0, IOVector.of(new Uint8Array(512)), 0)).toBe('number');
    server.setFault('/a.img', undefined);
    expect(await readChunk(state, CHUNK)).toBe(OK);
    expect(context.notices).toEqual([]);
    await state.close();
  });

  it.each<Fault['kind']>(['hang', 'stall'])('%s: -EIO within 5 time limits', async (kind) => {
    const { state, context } = await open(TIMEOUT);
    server.setFault('/a.img', { kind });
    const start = context.aioContext.now();
    expect(await readChunk(state, 0)).toBe(-EIO);
    const seconds = (context.aioContext.now() - start) / 1e9;
    expect(seconds).toBeGreaterThan(TIMEOUT);
    // No sixth one; how long a busy host takes over five is no matter of ours.
    expect(seconds).toBeLessThan(2 * 5 * TIMEOUT);
    await state.close();
  });
});

describe('a server that is down', () => {
  it('fails the last of a long queue within two operations, not after all of them', async () => {
    const context = openContext({ readOnly: true, aioContext: fastContext(FACTOR) });
    const url = `${server.url}/a.img`;
    const options = { url, readahead: 0, timeout: TIMEOUT, 'max-connections': 1 };
    const state = await driver.open(context, driver.parseOptions(options));
    server.setFault('/a.img', { kind: 'hang' });
    const start = context.aioContext.now();
    const reads = Array.from({ length: 12 }, (_, i) => readChunk(state, 2 * i * CHUNK));
    expect(await Promise.all(reads)).toEqual(reads.map(() => -EIO));
    const seconds = (context.aioContext.now() - start) / 1e9;
    expect(seconds).toBeLessThan(3 * 5 * TIMEOUT);
    await state.close();
  });
});

describe('an image that changes', () => {
  const bigger = new Prng(1).bytes(SIZE + 512);
  it.each<[string, () => void]>([
    ['its ETag', () => server.setFault('/a.img', { kind: 'change-etag' })],
    ['its size', () => server.setFile('/a.img', { bytes: bigger })],
    ['its end', () => server.setFile('/a.img', { bytes: image.subarray(0, 4096) })],
  ])('%s: every read fails from then on, and people are told', async (_name, change) => {
    const { state, context } = await open();
    expect(await readChunk(state, 0)).toBe(OK);
    change();
    expect(await readChunk(state, 8 * CHUNK)).toBe(-EIO);
    const { requests } = server.stats;
    server.setFault('/a.img', undefined);
    server.setFile('/a.img', { bytes: image });
    expect(state.preadv(0, IOVector.of(new Uint8Array(512)), 0)).toBe(-EIO);
    expect(state.preadv(9 * CHUNK, IOVector.of(new Uint8Array(512)), 0)).toBe(-EIO);
    expect(server.stats.requests).toBe(requests);
    expect(context.notices).toHaveLength(1);
    expect(context.notices[0]).toContain('image changed on the server');
    await state.close();
  });
});

describe('opening', () => {
  it.each<[string, Fault, string, RegExp]>([
    ['a server without ranges', { kind: 'ignore-range' }, 'ENOTSUP', /ignores Range/],
    ['an encoded image', { kind: 'gzip' }, 'ENOTSUP', /gzip/],
    ['an unknown size', { kind: 'no-total' }, 'ENOTSUP', /total size/],
    ['404', { kind: 'status', status: 404 }, 'ENOENT', /404/],
    ['403', { kind: 'status', status: 403 }, 'EACCES', /403/],
    ['a server that is down', { kind: 'refuse' }, 'EIO', /5 tries.*Access-Control-Allow-Origin/],
    ['a server that says nothing', { kind: 'hang' }, 'ETIMEDOUT', /no complete answer within/],
  ])('%s', async (_name, fault, code, message) => {
    const error = await openFailure(fault);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.message).toContain('node0');
  });

  it('says that nothing but a change of size would be noticed', async () => {
    server.setFault('/a.img', { kind: 'weak-etag' });
    const { state, context } = await open();
    expect(state.info?.()).toMatchObject({ pinnedBy: 'size' });
    expect(context.notices).toHaveLength(1);
    await state.close();
  });

  it('refuses an empty image', async () => {
    server.setFile('/empty.img', { bytes: new Uint8Array(0) });
    await expect(open(100, '/empty.img')).rejects.toThrow(/empty/);
  });

  it('ends at once when its signal aborts', async () => {
    server.setFault('/a.img', { kind: 'hang' });
    const abort = new AbortController();
    const opening = driver.open(
      openContext({ readOnly: true, signal: abort.signal }),
      driver.parseOptions({ url: `${server.url}/a.img` }),
    );
    setTimeout(() => abort.abort(), 20);
    await expect(opening).rejects.toMatchObject({ code: 'ECANCELED' });
  });
});
