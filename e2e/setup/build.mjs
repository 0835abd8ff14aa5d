// `npm run build`: dist/ as it is published. Browser entries are library builds; the IOThread's worker
// is one self-contained file with a stable name, since workers know no import maps and bundlers find
// it by the literal `new URL('./iothread-worker.js', import.meta.url)` alone. `./inline` is the same
// entry with the worker inside, as text. `--readme` puts the sizes into the README.

import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureDependencies } from './dependencies.mjs';
import { packageSizes, putSizesIntoReadme } from './package-sizes.mjs';
import { root, runInstalled, runMain, say, SetupError, stage } from './shell.mjs';
import { bundledPackages, noticesOf } from './third-party-notices.mjs';
import { ensureWasm } from './wasm.mjs';

const dist = join(root, 'dist');
/** What users install beside us; and what Node brings. */
const external = [/^comlink($|\/)/, /^idb-keyval$/, /^node:/];
/** Names of the packages whose code is in our files. */
const bundled = new Set();

/** What every build has in common: none of the checkout's own configuration, nothing wiped. */
const common = { configFile: false, root, publicDir: false, logLevel: 'warn' };
const output = { outDir: dist, emptyOutDir: false, minify: false, target: 'es2022' };

/** The sources start their worker from its source; the published files from the file beside them. */
const workerInSources = /new URL\(\s*'\.\/iothread\/worker\.ts',\s*import\.meta\.url,?\s*\)/;
const workerInDist = "new URL('./iothread-worker.js', import.meta.url)";

await runMain(async () => {
  await stage('set-up', async () => {
    await ensureDependencies();
    await ensureWasm();
  });
  for (const name of existsSync(dist) ? readdirSync(dist) : []) {
    if (name !== 'workbench') rmSync(join(dist, name), { recursive: true, force: true });
  }
  await stage('for browsers', async () => {
    await buildEntries({ index: 'src/index.ts', v86: 'src/adapters/v86.ts' });
    await buildWorker('iothread-worker.js', 'src/iothread/worker.ts');
    await buildInline('inline.js', 'src/index.ts', 'iothread-worker.js');
    for (const name of ['iothread-worker.js', 'inline.js']) checkSelfContained(name);
  });
  await stage('for Node', async () => {
    await buildForNode('node.js', 'src/node.ts');
    await buildForNode('iothread-worker.node.js', 'src/iothread/worker.node.ts');
  });
  await stage('types', buildTypes);
  writeFileSync(join(dist, 'THIRD-PARTY-NOTICES.txt'), noticesOf([...bundled].sort()));
  for (const { file, bytes, gzipped } of packageSizes()) {
    say(`${file}: ${bytes} bytes, ${gzipped} gzipped`);
  }
  if (process.argv.includes('--readme')) putSizesIntoReadme();
});

/**
 * ES modules for browsers.
 * @param {Record<string, string>} entry output name to source
 */
async function buildEntries(entry) {
  const { build } = await import('vite');
  await build({
    ...common,
    plugins: [publishedWorkerUrl(), bundledPackages(bundled)],
    build: {
      ...output,
      lib: { entry, formats: ['es'] },
      rolldownOptions: { external, output: { chunkFileNames: 'chunks/shared.js' } },
    },
  });
}

/**
 * One self-contained ES module for a browser's worker. Minified, since pages that start workers by
 * URL serve it as it is, and no bundler gets to do it.
 * @param {string} name of the output
 * @param {string} entry source
 */
async function buildWorker(name, entry) {
  const { build } = await import('vite');
  await build({
    ...common,
    plugins: [bundledPackages(bundled)],
    build: {
      ...output,
      lib: { entry, formats: ['es'], fileName: () => name },
      rolldownOptions: { output: { codeSplitting: false, minify: true } },
    },
  });
}

/**
 * One ES module that needs no other file: the entry, what it imports, and the worker as text.
 * Minified, as the worker is.
 * @param {string} name of the output
 * @param {string} entry source
 * @param {string} worker name of the worker's output
 */
async function buildInline(name, entry, worker) {
  const { build } = await import('vite');
  const text = readFileSync(join(dist, worker), 'utf8');
  await build({
    ...common,
    plugins: [inlineWorker(text), bundledPackages(bundled)],
    build: {
      ...output,
      lib: { entry, formats: ['es'], fileName: () => name },
      rolldownOptions: { output: { codeSplitting: false, minify: true } },
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

/**
 * Puts a Blob of the worker's text where the sources name its URL. Made when the first worker is.
 * @param {string} text
 * @returns {import('vite').Plugin}
 */
function inlineWorker(text) {
  const code = `const text = ${JSON.stringify(text)};
let url;
/** A URL of the worker's text, for as long as the page lives. */
export function workerUrl() {
  url ??= URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
  return url;
}
`;
  const id = 'diskplane:worker-text';
  return {
    name: 'diskplane:inline-worker',
    enforce: 'pre',
    resolveId: (source) => (source === id ? `\0${id}` : null),
    load: (loaded) => (loaded === `\0${id}` ? code : null),
    transform: (source) =>
      workerInSources.test(source)
        ? `import { workerUrl } from '${id}';\n${source.replace(workerInSources, 'workerUrl()')}`
        : null,
  };
}

/** Declarations of the entries and of all that they mention. */
async function buildTypes() {
  const project = join(root, 'e2e/setup/tsconfig.types.json');
  await runInstalled('typescript/bin/tsc', ['-p', project]);
  // Sources outside src/ (the compiled wasm) are seen by the compiler, but in no declaration.
  renameSync(join(dist, '.types/src'), join(dist, 'types'));
  rmSync(join(dist, '.types'), { recursive: true });
  // Published declarations know no `.ts` files.
  for (const name of readdirSync(join(dist, 'types'), { recursive: true, encoding: 'utf8' })) {
    const path = join(dist, 'types', name);
    if (!name.endsWith('.d.ts')) continue;
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace(/((?:from|import\()\s*'\.[^']*)\.ts'/g, "$1.js'"));
  }
}

/**
 * A file that is used alone must import nothing: neither packages nor chunks.
 * @param {string} name
 */
function checkSelfContained(name) {
  const path = join(dist, name);
  if (!existsSync(path)) throw new SetupError(`the build made no ${name}`);
  const found = /^\s*import\b.*|\bimport\(.*/m.exec(readFileSync(path, 'utf8'));
  if (found) throw new SetupError(`${name} is not self-contained: ${found[0].slice(0, 200)}`);
}
