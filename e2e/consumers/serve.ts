// A web server for a folder, as an embedder has to set one up: isolated pages, scripts that other
// origins may take.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
};

/** What an isolated page and its workers need; the last two are for other origins. */
export const HEADERS: Record<string, string> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Access-Control-Allow-Origin': '*',
};

/** A running server. */
export interface FolderServer {
  /** Without a slash at its end. */
  readonly url: string;
  close(): Promise<void>;
}

/** Serves `folder` on a free port of 127.0.0.1, and nothing outside it. */
export async function serveFolder(folder: string): Promise<FolderServer> {
  const server = createServer((request, response) => {
    // The URL parser takes '..' out; normalize what was percent-encoded.
    const { pathname } = new URL(request.url!, 'http://localhost');
    const path = normalize(decodeURIComponent(pathname)).replace(/[/\\]$/, '/index.html');
    readFile(join(folder, path)).then(
      (body) => {
        const type = TYPES[extname(path)] ?? 'application/octet-stream';
        response.writeHead(200, { ...HEADERS, 'Content-Type': type }).end(body);
      },
      () => response.writeHead(404, HEADERS).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
