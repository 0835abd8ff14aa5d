// Answers that no honest server gives, made by hand, and the options.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { EIO, OK } from '../../base/ret.ts';
import { fastContext } from '../../testing/fast-context.ts';
import { openContext } from '../../testing/open-context.ts';
import type { DriverState } from '../block-driver.ts';
import { driver, httpDriver } from './http.ts';

const TOTAL = 1 << 20;
const URL_TEXT = 'https://images.example/a.img';

type Answer = (first: number, last: number, init: RequestInit) => Response;

/** Opens over a made-up server; `answer` is asked from the second request on. */
async function openOver(answer: Answer, identity: Record<string, string>): Promise<Opened> {
  const seen: RequestInit[] = [];
  const fake = async (_url: unknown, init: RequestInit = {}): Promise<Response> => {
    const range = new Headers(init.headers).get('range') ?? '';
    const [first, last] = /(\d+)-(\d+)/.exec(range)!.slice(1).map(Number) as [number, number];
    seen.push(init);
    return seen.length === 1 ? honest(first, last, identity) : answer(first, last, init);
  };
  const context = openContext({ readOnly: true, aioContext: fastContext(50) });
  const made = httpDriver(fake);
  const options = { url: URL_TEXT, readahead: 0, timeout: 2, headers: { 'X-Key': 'k' } };
  const state = await made.open(context, made.parseOptions(options));
  return { state, seen };
}

interface Opened {
  readonly state: DriverState;
  readonly seen: RequestInit[];
}

function honest(first: number, last: number, more: Record<string, string> = {}): Response {
  return bytesAnswer(first, last, new Uint8Array(last - first + 1).fill(7), more);
}

function bytesAnswer(
  first: number,
  last: number,
  body: Uint8Array<ArrayBuffer> | ReadableStream | null,
  more: Record<string, string>,
): Response {
  const headers = { 'Content-Range': `bytes ${first}-${last}/${TOTAL}`, ...more };
  return new Response(body, { status: 206, headers });
}

async function read(state: DriverState): Promise<number> {
  return state.preadv(0, IOVector.of(new Uint8Array(100)), 0);
}

const ETAG = { ETag: '"one"' };

describe('http answers', () => {
  it('asks without the browser cache, with its headers', async () => {
    const { state, seen } = await openOver((first, last) => honest(first, last), {});
    expect(await read(state)).toBe(OK);
    expect(seen).toHaveLength(2);
    expect(seen[1]).toMatchObject({ cache: 'no-store', credentials: 'same-origin' });
    expect(new Headers(seen[1]!.headers).get('x-key')).toBe('k');
  });

  it('refuses a body longer than its Content-Range, without another try', async () => {
    const { state, seen } = await openOver(
      (first, last) => bytesAnswer(first, last, new Uint8Array(last - first + 2), ETAG),
      ETAG,
    );
    expect(await read(state)).toBe(-EIO);
    expect(seen).toHaveLength(2);
    expect(state.info?.()['lastError']).toMatch(/longer than its Content-Range/);
  });

  it('takes no more of an endless body than it asked for', async () => {
    let pulled = 0;
    const { state } = await openOver((first, last) => {
      const endless = new ReadableStream({
        pull(controller) {
          pulled += 1;
          controller.enqueue(new Uint8Array(16 * 1024));
        },
      });
      return bytesAnswer(first, last, endless, ETAG);
    }, ETAG);
    expect(await read(state)).toBe(-EIO);
    expect(pulled).toBeLessThanOrEqual(7);
  });

  it('fails, and does not hang, on a body that never ends after its last byte', async () => {
    const { state, seen } = await openOver((first, last, init) => {
      const stuck = new ReadableStream({
        start(controller) {
          controller.enqueue(new Uint8Array(last - first + 1));
          init.signal!.addEventListener('abort', () => controller.error(new Error('aborted')));
        },
      });
      return bytesAnswer(first, last, stuck, ETAG);
    }, ETAG);
    expect(await read(state)).toBe(-EIO);
    expect(seen.length).toBeGreaterThan(2);
    expect(seen.length).toBeLessThanOrEqual(6);
  });

  it('refuses a Content-Length that does not fit, before the body', async () => {
    const { state, seen } = await openOver(
      (first, last) => honest(first, last, { ...ETAG, 'Content-Length': '5' }),
      ETAG,
    );
    expect(await read(state)).toBe(-EIO);
    expect(seen).toHaveLength(6);
  });

  it.each([
    ['Last-Modified', { 'Last-Modified': 'Sun, 22 Nov 2026 10:00:00 GMT' }, 'last-modified'],
    [
      'Last-Modified beside a weak ETag',
      { ETag: 'W/"x"', 'Last-Modified': 'then' },
      'last-modified',
    ],
    ['ETag', { ETag: '"x"', 'Last-Modified': 'then' }, 'etag'],
  ])('pins by %s and notices a change', async (_name, identity, pinnedBy) => {
    const { state } = await openOver((first, last) => {
      return honest(first, last, { ETag: '"y"', 'Last-Modified': 'now' });
    }, identity);
    expect(state.info?.()).toMatchObject({ pinnedBy });
    expect(await read(state)).toBe(-EIO);
    expect(state.info?.()['broken']).toMatch(/changed on the server/);
  });

  it('explains a Content-Range that CORS hides', async () => {
    const hidden = (): Promise<Response> => {
      const response = new Response(new Uint8Array(1), { status: 206 });
      Object.defineProperty(response, 'type', { value: 'cors' });
      return Promise.resolve(response);
    };
    const made = httpDriver(hidden);
    const opening = made.open(
      openContext({ readOnly: true }),
      made.parseOptions({ url: URL_TEXT }),
    );
    await expect(opening).rejects.toThrow(/Access-Control-Expose-Headers: Content-Range, ETag/);
  });

  it('is read-only', async () => {
    const opening = driver.open(openContext(), driver.parseOptions({ url: URL_TEXT }));
    await expect(opening).rejects.toMatchObject({ code: 'EROFS' });
  });
});

describe('http options', () => {
  it('takes defaults, and sizes with suffixes', () => {
    expect(driver.parseOptions({ url: `${URL_TEXT}#part`, 'cache-size': '1M' })).toEqual({
      url: URL_TEXT,
      chunkSize: 65536,
      cacheSize: 1048576,
      readahead: 262144,
      timeout: 10,
      maxConnections: 6,
      headers: {},
      credentials: 'same-origin',
    });
  });

  it.each([
    [{}, /'url' must be given/],
    [{ url: 'a.img' }, /absolute URL/],
    [{ url: 'ftp://a/b' }, /http or https/],
    [{ url: 'https://me:secret@a/b' }, /without user name/],
    [{ url: URL_TEXT, 'chunk-size': 5000 }, /power of two/],
    [{ url: URL_TEXT, 'chunk-size': 512 }, /from 4096/],
    [{ url: URL_TEXT, 'cache-size': '64K' }, /at least 4 chunks/],
    [{ url: URL_TEXT, timeout: -1 }, /'timeout'/],
    [{ url: URL_TEXT, timeout: NaN }, /'timeout'/],
    [{ url: URL_TEXT, 'max-connections': 0 }, /'max-connections'/],
    [{ url: URL_TEXT, headers: { Range: 'bytes=0-1' } }, /'Range'/],
    [{ url: URL_TEXT, headers: { 'X-A': 'a\r\nB: c' } }, /'X-A'/],
    [{ url: URL_TEXT, headers: 'X: y' }, /'headers'/],
    [{ url: URL_TEXT, credentials: 'yes' }, /'credentials'/],
    [{ url: URL_TEXT, cachesize: 1 }, /unknown option 'cachesize'/],
  ])('refuses %o', (raw, message) => {
    expect(() => driver.parseOptions(raw)).toThrow(message);
  });
});
