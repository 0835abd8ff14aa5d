// `npm run build`: dist/ as it is published. Browser entries are library builds; the IOThread's worker
// is one self-contained file with a stable name, since workers know no import maps and bundlers find
// it by the literal `new URL('./iothread-worker.js', import.meta.url)` alone.

import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ensureDependencies } from './dependencies.mjs';
import { root, runInstalled, runMain, say, SetupError, stage } from './shell.mjs';
import { ensureWasm } from './wasm.mjs';

const dist = join(root, 'dist');
/** What users install beside us; and what Node brings. */
const external = [/^comlink($|\/)/, /^idb-keyval$/, /^node:/];

/** What every build has in common: none of the checkout's own configuration, nothing wiped. */
const common = { configFile: false, root, publicDir: false, logLevel: 'warn' };
const output = { outDir: dist, emptyOutDir: false, minify: false };

/** The sources start their worker from its source; the published files from the file beside them. */
const workerInSources = /new URL\(\s*'\.\/iothread\/worker\.ts',\s*import\.meta\.url,?\s*\)/;
const workerInDist = "new URL('./iothread-worker.js', import.meta.url)";

await runMain(async () => {
  await stage('set-up', async () => {
    await ensureDependencies();
    await ensureWasm();
  });
  for (const name of ['index.js', 'v86.js', 'node.js', 'chunks', 'types', '.types']) {
    rmSync(join(dist, name), { recursive: true, force: true });
  }
  await stage('for browsers', async () => {
    await buildEntries({ index: 'src/index.ts', v86: 'src/adapters/v86.ts' });
    await buildWorker('iothread-worker.js', 'src/iothread/worker.ts');
  });
  await stage('for Node', async () => {
    await buildForNode('node.js', 'src/node.ts');
    await buildForNode('iothread-worker.node.js', 'src/iothread/worker.node.ts');
  });
  await stage('types', buildTypes);
  await stage('sizes', () => {
    for (const name of ['index', 'v86', 'iothread-worker', 'node', 'iothread-worker.node']) {
      const bytes = readFileSync(join(dist, `${name}.js`));
      const zipped = gzipSync(bytes, { level: 9 });
      say(`${name}.js: ${bytes.length} bytes, ${zipped.length} gzipped`);
    }
    checkSelfContained('iothread-worker.js');
  });
});

/**
 * ES modules for browsers.
 * @param {Record<string, string>} entry output name to source
 */
async function buildEntries(entry) {
  const { build } = await import('vite');
  await build({
    ...common,
    plugins: [publishedWorkerUrl()],
    build: {
      ...output,
      target: 'es2022',
      lib: { entry, formats: ['es'] },
      rolldownOptions: { external, output: { chunkFileNames: 'chunks/[name].js' } },
    },
  });
}

/**
 * One self-contained ES module for a browser's worker.
 * @param {string} name of the output
 * @param {string} entry source
 */
async function buildWorker(name, entry) {
  const { build } = await import('vite');
  await build({
    ...common,
    build: {
      ...output,
      target: 'es2022',
      lib: { entry, formats: ['es'], fileName: () => name },
      rolldownOptions: { output: { codeSplitting: false } },
    },
  });
}

/**
 * One ES module for Node; the packages it needs stay imports.
 * @param {string} name of the output
 * @param {string} entry source
 */
async function buildForNode(name, entry) {
  const { build } = await import('vite');
  await build({
    ...common,
    build: {
      ...output,
      target: 'node20',
      ssr: entry,
      rolldownOptions: { external, output: { entryFileNames: name, codeSplitting: false } },
    },
  });
}

/**
 * Puts the one literal expression that bundlers of users look for into the output. Vite would write a
 * longer one, which the others do not understand; so it must not see ours.
 * @returns {import('vite').Plugin}
 */
function publishedWorkerUrl() {
  const token = '__DISKPLANE_WORKER_URL__';
  return {
    name: 'diskplane:published-worker-url',
    enforce: 'pre',
    transform: (code) => (workerInSources.test(code) ? code.replace(workerInSources, token) : null),
    generateBundle(_options, bundle) {
      const users = Object.values(bundle).filter((file) => file.code?.includes(token));
      if (users.map((file) => file.fileName).join() !== 'index.js') {
        throw new SetupError('the worker must be started in index.js, by a literal `new URL`');
      }
      users[0].code = users[0].code.replace(token, workerInDist);
    },
  };
}

/** Declarations of the entries and of all that they mention. */
async function buildTypes() {
  const project = join(root, 'e2e/setup/tsconfig.types.json');
  await runInstalled('typescript/bin/tsc', ['-p', project]);
  // Sources outside src/ (the compiled wasm) are seen by the compiler, but in no declaration.
  renameSync(join(dist, '.types/src'), join(dist, 'types'));
  rmSync(join(dist, '.types'), { recursive: true });
}

/**
 * A worker's file must import nothing: neither packages nor chunks.
 * @param {string} name
 */
function checkSelfContained(name) {
  const path = join(dist, name);
  if (!existsSync(path)) throw new SetupError(`the build made no ${name}`);
  const found = /^\s*import\b.*|\bimport\(.*/m.exec(readFileSync(path, 'utf8'));
  if (found) throw new SetupError(`${name} is not self-contained: ${found[0].slice(0, 200)}`);
}
