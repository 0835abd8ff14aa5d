// IOThreads in unit tests: Node runs no TypeScript in worker threads, so the worker's entry is
// bundled once per test run, by the bundler the package is built with.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'vite';
import { NodeHost } from '../host/node.ts';

const ROOT = new URL('../../', import.meta.url).pathname;

let built: Promise<URL> | undefined;

async function bundle(): Promise<URL> {
  const outDir = join(ROOT, 'node_modules/.cache/diskplane', `worker-${process.pid}`);
  await mkdir(outDir, { recursive: true });
  await build({
    root: ROOT,
    configFile: false,
    logLevel: 'error',
    publicDir: false,
    ssr: { noExternal: true },
    build: {
      ssr: join(ROOT, 'src/iothread/worker.node.ts'),
      outDir,
      emptyOutDir: true,
      target: 'es2022',
      minify: false,
      rolldownOptions: { output: { entryFileNames: 'iothread-worker.node.mjs' } },
    },
  });
  return pathToFileURL(join(outDir, 'iothread-worker.node.mjs'));
}

/** The script of a worker thread that runs the present source. */
export function nodeTestWorker(): Promise<URL> {
  built ??= bundle();
  return built;
}

/** A host whose IOThreads run the present source. */
export async function nodeTestHost(): Promise<NodeHost> {
  return new NodeHost(await nodeTestWorker());
}
