// The middleware of the plugin, under a plain HTTP server and Node's fetch.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { folderMiddleware } from './vite-plugin.ts';

const kernel = Buffer.from('kernel '.repeat(1000));
let folder: string;
let server: Server;
let url: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'serve-folders-'));
  mkdirSync(join(folder, 'guest/inner'), { recursive: true });
  writeFileSync(join(folder, 'secret.txt'), 'secret');
  writeFileSync(join(folder, 'guest/guest.json'), '{}');
  writeFileSync(join(folder, 'guest/vmlinux.bin'), kernel);
  writeFileSync(join(folder, 'guest/vmlinux.bin.gz'), gzipSync(kernel));
  const middleware = folderMiddleware({ '/guest/': join(folder, 'guest') });
  server = createServer((request, response) =>
    middleware(request, response, () => response.writeHead(299).end()),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

describe('folderMiddleware', () => {
  it('serves files by ranges, isolated', async () => {
    const response = await fetch(`${url}/guest/vmlinux.bin`, { headers: { Range: 'bytes=7-12' } });
    expect(response.status).toBe(206);
    expect(await response.text()).toBe('kernel');
    expect(response.headers.get('cross-origin-resource-policy')).toBe('cross-origin');
    const json = await fetch(`${url}/guest/guest.json`);
    expect(json.headers.get('content-type')).toBe('application/json');
  });

  it('sends the gzip twin to those who take it, under a tag of its own', async () => {
    const zipped = await fetch(`${url}/guest/vmlinux.bin`);
    expect(zipped.headers.get('content-encoding')).toBe('gzip');
    expect(zipped.headers.get('vary')).toBe('Accept-Encoding');
    expect(Buffer.from(await zipped.arrayBuffer()).equals(kernel)).toBe(true);
    const plain = await fetch(`${url}/guest/vmlinux.bin`, { headers: { 'Accept-Encoding': 'br' } });
    expect(plain.headers.get('content-encoding')).toBeNull();
    expect(Buffer.from(await plain.arrayBuffer()).equals(kernel)).toBe(true);
    expect(plain.headers.get('etag')).not.toBe(zipped.headers.get('etag'));
  });

  it.each(['/guest/', '/guest/inner', '/guest/..%2fsecret.txt', '/guest/none.img'])(
    'has no %s',
    async (path) => {
      expect((await fetch(url + path)).status).toBe(404);
    },
  );

  it('leaves other paths alone', async () => {
    expect((await fetch(`${url}/other`)).status).toBe(299);
  });

  it('answers later where asked to', async () => {
    const start = performance.now();
    expect((await fetch(`${url}/guest/guest.json?delay=50`)).status).toBe(200);
    expect(performance.now() - start).toBeGreaterThan(45);
  });
});
