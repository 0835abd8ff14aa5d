// The image server against Node's fetch: what a good host answers, and each fault as a client sees it.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Fault } from './fault.ts';
import { type ImageServer, startImageServer } from './image-server.ts';

const image = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

let server: ImageServer;
beforeEach(async () => {
  server = await startImageServer({ files: [['/disk.img', { bytes: image }]] });
});
afterEach(() => server.close());

function get(headers: Record<string, string> = {}, init: RequestInit = {}): Promise<Response> {
  return fetch(`${server.url}/disk.img`, { ...init, headers });
}

function range(first: number, last: number): Promise<Response> {
  return get({ Range: `bytes=${first}-${last}` });
}

async function bytesOf(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer());
}

describe('a good host', () => {
  it('serves the whole, a range, and a range over the end', async () => {
    const whole = await get();
    expect(whole.status).toBe(200);
    expect(whole.headers.get('accept-ranges')).toBe('bytes');
    expect(await bytesOf(whole)).toEqual(image);

    const part = await range(70_000, 140_000);
    expect(part.status).toBe(206);
    expect(part.headers.get('content-range')).toBe('bytes 70000-140000/200000');
    expect(part.headers.get('content-length')).toBe('70001');
    expect(part.headers.get('etag')).toBe(whole.headers.get('etag'));
    expect(await bytesOf(part)).toEqual(image.subarray(70_000, 140_001));

    const end = await range(199_999, 300_000);
    expect(end.headers.get('content-range')).toBe('bytes 199999-199999/200000');
    expect(await bytesOf(end)).toEqual(image.subarray(199_999));
  });

  it('refuses a range past the end, telling the size', async () => {
    const response = await range(200_000, 200_001);
    expect(response.status).toBe(416);
    expect(response.headers.get('content-range')).toBe('bytes */200000');
    expect((await bytesOf(response)).length).toBe(0);
  });

  it('answers HEAD with the headers of GET and no body', async () => {
    const response = await get({ Range: 'bytes=0-9' }, { method: 'HEAD' });
    expect(response.status).toBe(206);
    expect(response.headers.get('content-length')).toBe('10');
    expect((await bytesOf(response)).length).toBe(0);
    expect(server.stats.bytes).toBe(0);
  });

  it('honours If-Match, If-None-Match and If-Range', async () => {
    const etag = (await get({}, { method: 'HEAD' })).headers.get('etag')!;
    expect(etag).toMatch(/^"[^"]+"$/);
    const headers = { Range: 'bytes=0-9' };
    expect((await get({ ...headers, 'If-Match': etag })).status).toBe(206);
    expect((await get({ ...headers, 'If-Match': '"other"' })).status).toBe(412);
    expect((await get({ ...headers, 'If-None-Match': etag })).status).toBe(304);
    expect((await get({ ...headers, 'If-Range': etag })).status).toBe(206);
    expect((await get({ ...headers, 'If-Range': '"other"' })).status).toBe(200);
  });

  it('lets other origins in, preflight and isolation included', async () => {
    const response = await range(0, 9);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
    expect(response.headers.get('access-control-expose-headers')).toContain('Content-Range');
    expect(response.headers.get('cross-origin-resource-policy')).toBe('cross-origin');
    expect(response.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
    expect(response.headers.get('cross-origin-opener-policy')).toBe('same-origin');
    const preflight = await get({}, { method: 'OPTIONS' });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('If-Match');
    expect(Number(preflight.headers.get('access-control-max-age'))).toBeGreaterThan(600);
  });

  it('answers 404 and 405', async () => {
    expect((await fetch(`${server.url}/none`)).status).toBe(404);
    expect((await get({}, { method: 'DELETE' })).status).toBe(405);
  });

  it('serves a file from disk, and notices that it changed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'image-server-'));
    const path = join(folder, 'disk.img');
    try {
      writeFileSync(path, image);
      server.setFile('/disk.img', { path });
      const before = await range(1000, 1999);
      expect(await bytesOf(before)).toEqual(image.subarray(1000, 2000));
      writeFileSync(path, image.subarray(1));
      const after = await range(1000, 1999);
      expect(await bytesOf(after)).toEqual(image.subarray(1001, 2001));
      expect(after.headers.get('etag')).not.toBe(before.headers.get('etag'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('counts requests, bytes and what is in flight at once', async () => {
    server.delayMs = 30;
    await Promise.all([0, 1, 2, 3].map(async (i) => bytesOf(await range(i * 100, i * 100 + 99))));
    expect(server.stats).toMatchObject({ requests: 4, bytes: 400, maxInFlight: 4 });
    expect(server.log.map((entry) => entry.range)).toContain('bytes=300-399');
    expect(server.log[0]).toMatchObject({ method: 'GET', path: '/disk.img', bytes: 100 });
    server.resetStats();
    expect(server.log).toEqual([]);
    expect(server.stats.requests).toBe(0);
  });
});

describe('a fault', () => {
  const arm = (fault: Fault): void => server.setFault('/disk.img', fault);

  it('strikes after so many requests, so many times, and other paths not at all', async () => {
    server.setFile('/other.img', { bytes: image });
    arm({ kind: 'status', status: 503, retryAfter: 7, after: 1, times: 2 });
    expect((await range(0, 9)).status).toBe(206);
    const struck = await range(0, 9);
    expect([struck.status, struck.headers.get('retry-after')]).toEqual([503, '7']);
    expect((await fetch(`${server.url}/other.img`)).status).toBe(200);
    expect((await range(0, 9)).status).toBe(503);
    expect((await range(0, 9)).status).toBe(206);
    expect(server.log.map((entry) => entry.fault)).toEqual([
      undefined,
      'status',
      undefined,
      'status',
      undefined,
    ]);
  });

  it('stall: some bytes, then silence until the client gives up', async () => {
    arm({ kind: 'stall', bytes: 100 });
    const abort = new AbortController();
    const response = await get({ Range: 'bytes=0-999' }, { signal: abort.signal });
    const reader = response.body!.getReader();
    expect((await reader.read()).value!.length).toBe(100);
    const next = reader.read();
    next.catch(() => {});
    const waited = await Promise.race([next, new Promise((resolve) => setTimeout(resolve, 60, 'silence'))]); // prettier-ignore
    expect(waited).toBe('silence');
    abort.abort();
    await expect(next).rejects.toThrow();
  });

  it('hang: not even headers', async () => {
    arm({ kind: 'hang' });
    await expect(get({}, { signal: AbortSignal.timeout(60) })).rejects.toThrow();
    expect(server.log[0]!.status).toBe(0);
  });

  it('refuse and reset: a broken connection before and within the body', async () => {
    arm({ kind: 'refuse' });
    await expect(range(0, 9)).rejects.toThrow();
    arm({ kind: 'reset', bytes: 500 });
    const response = await range(0, 99_999);
    expect(response.status).toBe(206);
    await expect(response.arrayBuffer()).rejects.toThrow();
    expect(server.log[1]!.bytes).toBe(500);
  });

  it('truncate: a body that ends early and looks complete', async () => {
    arm({ kind: 'truncate', bytes: 700 });
    const response = await range(0, 999);
    expect(response.headers.get('content-range')).toBe('bytes 0-999/200000');
    expect(await bytesOf(response)).toEqual(image.subarray(0, 700));
  });

  it('change-etag, weak-etag, no-etag', async () => {
    const etag = (await range(0, 9)).headers.get('etag')!;
    arm({ kind: 'change-etag' });
    const changed = (await range(0, 9)).headers.get('etag');
    expect(changed).toMatch(/^"replaced-/);
    expect((await get({ 'If-Match': etag })).status).toBe(412);
    arm({ kind: 'weak-etag' });
    expect((await range(0, 9)).headers.get('etag')).toBe(`W/${etag}`);
    arm({ kind: 'no-etag' });
    expect((await range(0, 9)).headers.get('etag')).toBeNull();
  });

  it('ignore-range: the whole with 200', async () => {
    arm({ kind: 'ignore-range' });
    const response = await range(10, 19);
    expect(response.status).toBe(200);
    expect((await bytesOf(response)).length).toBe(image.length);
  });

  it('gzip: an encoded body', async () => {
    arm({ kind: 'gzip' });
    const response = await range(10, 19);
    expect([response.status, response.headers.get('content-encoding')]).toEqual([206, 'gzip']);
    expect(await bytesOf(response)).toEqual(image.subarray(10, 20));
  });

  it('wrong-content-range, no-total: headers that do not fit', async () => {
    arm({ kind: 'wrong-content-range' });
    expect((await range(100, 199)).headers.get('content-range')).toBe('bytes 200-299/200000');
    expect((await range(199_900, 199_999)).headers.get('content-range')).toBe(
      'bytes 199800-199899/200000',
    );
    arm({ kind: 'no-total' });
    expect((await range(100, 199)).headers.get('content-range')).toBe('bytes 100-199/*');
  });

  it('short-range: fewer bytes than asked, honestly labelled', async () => {
    arm({ kind: 'short-range', bytes: 30 });
    const response = await range(100, 199);
    expect(response.headers.get('content-range')).toBe('bytes 100-129/200000');
    expect(await bytesOf(response)).toEqual(image.subarray(100, 130));
  });

  it('corrupt: wrong bytes under flawless headers', async () => {
    arm({ kind: 'corrupt' });
    const response = await range(100, 199);
    expect(response.status).toBe(206);
    expect(await bytesOf(response)).toEqual(image.slice(100, 200).map((byte) => byte ^ 0xff));
  });

  it('no-cors, no-expose: headers that a page must not or cannot read', async () => {
    arm({ kind: 'no-expose' });
    const hidden = await range(0, 9);
    expect(hidden.headers.get('access-control-allow-origin')).toBe('*');
    expect(hidden.headers.has('access-control-expose-headers')).toBe(false);
    arm({ kind: 'no-cors' });
    expect((await range(0, 9)).headers.has('access-control-allow-origin')).toBe(false);
  });
});
