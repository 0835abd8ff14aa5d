// A web server for a folder, as an embedder has to set one up: isolated pages, scripts that other
// origins may take.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { listen } from '../server/listen.ts';
import type { Listening } from '../server/listen.ts';

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

/** Serves `folder` on a free port of 127.0.0.1, and nothing outside it. */
export async function serveFolder(folder: string): Promise<Listening> {
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
  return listen(server);
}
