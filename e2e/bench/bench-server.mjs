// The server of the benchmark: the built page, isolated; an image of a gibibyte that is answered after
// `?delay=` milliseconds; the guest and the BIOS; and the address where the page posts what it does.

import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../setup/free-port.mjs';
import { root } from '../setup/shell.mjs';

const REPORT = '/bench-report';
const IMAGES = '/bench-images/';
const IMAGE = 'zeroes.img';
/** As IMAGE_BYTES of the page. */
const IMAGE_BYTES = 1024 ** 3;

/**
 * Builds the page as it is shipped.
 * @param {string} outDir
 */
export async function buildPage(outDir) {
  const { build } = await import('vite');
  await build({
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'warn',
    build: { outDir, emptyOutDir: true },
  });
}

/**
 * @param {string} page folder with the built page
 * @param {string} scratch folder for the image
 * @param {(message: Record<string, unknown>) => void} onMessage hears what the page posts
 * @returns {Promise<{ url: URL, close(): Promise<void> }>} `url`: of the benchmark's page, told where
 *   the image is and where to post
 */
export async function serveBench(page, scratch, onMessage) {
  const { preview, runnerImport } = await import('vite');
  const { module } = await runnerImport(join(root, 'e2e/server/vite-plugin.ts'));
  mkdirSync(scratch, { recursive: true });
  makeImage(join(scratch, IMAGE));
  const server = await preview({
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'warn',
    plugins: [module.serveFolders({ [IMAGES]: scratch }), reportPlugin(onMessage)],
    build: { outDir: page },
    preview: { port: await freePort(), strictPort: true },
  });
  const url = new URL('/bench/bench.html', server.resolvedUrls.local[0]);
  url.searchParams.set('report', REPORT);
  url.searchParams.set('image', IMAGES + IMAGE);
  return { url, close: () => server.close() };
}

/** @param {string} path of a file to make: zeroes that take no room on the disk */
function makeImage(path) {
  const file = openSync(path, 'w');
  ftruncateSync(file, IMAGE_BYTES);
  closeSync(file);
}

/** @param {(message: Record<string, unknown>) => void} onMessage */
function reportPlugin(onMessage) {
  return {
    name: 'diskplane:bench-report',
    configurePreviewServer(server) {
      server.middlewares.use(REPORT, (request, response) => {
        let body = '';
        request.on('data', (data) => (body += data));
        request.on('end', () => {
          response.statusCode = 204;
          response.end();
          onMessage(JSON.parse(body));
        });
      });
    },
  };
}
