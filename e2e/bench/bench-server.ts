// The server of the benchmark: the built page, isolated; an image of a gibibyte that is answered after
// `?delay=` milliseconds; the guest and the BIOS; and the address where the page posts what it does.

import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { preview, type Plugin } from 'vite';
import { IMAGE_BYTES, type Report } from '../../src/demo/bench/row.ts';
import { serveFolders } from '../server/vite-plugin.ts';
import { freePort } from '../setup/free-port.mjs';

const REPORT = '/bench-report';
const IMAGES = '/bench-images/';
const IMAGE = 'zeroes.img';
const configFile: string = fileURLToPath(new URL('../../vite.config.ts', import.meta.url));

/** What the page posts: the row that begins, why it gave up, or what came out at the end. */
export interface BenchMessage {
  readonly row?: string;
  readonly error?: string;
  readonly report?: Report;
  /** The report for people. */
  readonly text?: string;
}

export interface BenchServer {
  /** Of the benchmark's page, which is told where the image is and where to post. */
  readonly url: URL;
  close(): Promise<void>;
}

/** Serves the page that was built into `page`; the image is made in `images`. */
export async function serveBench(
  page: string,
  images: string,
  onMessage: (message: BenchMessage) => void,
): Promise<BenchServer> {
  mkdirSync(images, { recursive: true });
  makeImage(join(images, IMAGE));
  const server = await preview({
    configFile,
    logLevel: 'warn',
    plugins: [serveFolders({ [IMAGES]: images }), reportPlugin(onMessage)],
    build: { outDir: page },
    preview: { port: await freePort(), strictPort: true },
  });
  const url = new URL('/bench/bench.html', server.resolvedUrls!.local[0]);
  url.searchParams.set('report', REPORT);
  url.searchParams.set('image', IMAGES + IMAGE);
  return { url, close: () => server.close() };
}

/** Zeroes that take no room on the disk. */
function makeImage(path: string): void {
  const file = openSync(path, 'w');
  ftruncateSync(file, IMAGE_BYTES);
  closeSync(file);
}

function reportPlugin(onMessage: (message: BenchMessage) => void): Plugin {
  return {
    name: 'diskplane:bench-report',
    configurePreviewServer(server) {
      server.middlewares.use(REPORT, (request, response) => {
        let body = '';
        request.setEncoding('utf8');
        request.on('data', (data: string) => (body += data));
        request.on('end', () => {
          response.statusCode = 204;
          response.end();
          onMessage(JSON.parse(body) as BenchMessage);
        });
      });
    },
  };
}
