// Serves, in the dev server and the preview, what is not part of the checkout: the guest's files from
// the cache folder, below /guest/, and the BIOS from its npm package, below /bios/. By ranges, with
// entity tags; `?delay=20` answers that much later (milliseconds), to try distance.

import { existsSync, statSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Plugin } from 'vite';
import { answerRequest, answerStatus, setCommonHeaders } from './answer.ts';
import { openByteSource } from './byte-source.ts';

/** Longest delay that a query may ask for, milliseconds. */
const MAX_DELAY_MS = 10_000;
/** The whole of what a path may name: a plain file directly in the folder. */
const FILE_NAME = /^[a-z0-9][a-z0-9._-]*$/i;

const contentTypes: Readonly<Record<string, string>> = {
  json: 'application/json',
  txt: 'text/plain; charset=utf-8',
};

/** Folders to serve: URL path with slashes at both ends, to folder. */
export type ServedFolders = Readonly<Record<string, string>>;

/** The plugin. A folder is looked at anew for each request, so it may appear later. */
export function serveFolders(folders: ServedFolders): Plugin {
  const middleware = folderMiddleware(folders);
  return {
    name: 'diskplane:serve-folders',
    configureServer: (server) => void server.middlewares.use(middleware),
    configurePreviewServer: (server) => void server.middlewares.use(middleware),
  };
}

/** The same as a middleware for any connect-like server; calls `next` for what is not its own. */
export function folderMiddleware(
  folders: ServedFolders,
): (request: IncomingMessage, response: ServerResponse, next: () => void) => void {
  return (request, response, next) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const prefix = Object.keys(folders).find((path) => url.pathname.startsWith(path));
    if (prefix === undefined) return next();
    const name = url.pathname.slice(prefix.length);
    const path = join(folders[prefix]!, name);
    if (!FILE_NAME.test(name) || !existsSync(path) || !statSync(path).isFile()) {
      setCommonHeaders(response);
      return answerStatus(response, 404);
    }
    const serve = (): void => serveFile(request, response, path);
    const delayMs = Math.min(Number(url.searchParams.get('delay')) || 0, MAX_DELAY_MS);
    if (delayMs > 0) setTimeout(serve, delayMs);
    else serve();
  };
}

/** Serves one file; its `.gz` twin, where there is one, to those who take it and ask for no range. */
function serveFile(request: IncomingMessage, response: ServerResponse, path: string): void {
  const contentType = contentTypes[path.slice(path.lastIndexOf('.') + 1)];
  const takesGzip = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  const zipped = takesGzip && request.headers.range === undefined && existsSync(`${path}.gz`);
  if (existsSync(`${path}.gz`)) response.setHeader('Vary', 'Accept-Encoding');
  answerRequest(request, response, {
    source: openByteSource({ path: zipped ? `${path}.gz` : path }),
    contentType: contentType ?? 'application/octet-stream',
    ...(zipped && { contentEncoding: 'gzip' }),
  });
}
