// `npm run build`: dist/ as it is published. Browser entries are library builds; the IOThread's worker
// is a file with a stable name that imports nothing, since workers know no import maps and bundlers
// find it by the literal `new URL('./iothread-worker.js', import.meta.url)` alone. Drivers beyond the
// usual ones lie in drivers/. `./inline` is the same entry with a worker of all drivers inside, as
// text. `--readme` puts the sizes into the README.

import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureDependencies } from './dependencies.mjs';
import { driverFiles, driverSplitting } from './driver-files.mjs';
import { packageSizes, putSizesIntoReadme } from './package-sizes.mjs';
import { inlineWorker, publishedUrls } from './published-urls.mjs';
import { root, runInstalled, runMain, say, SetupError, stage } from './shell.mjs';
import { terse } from './terse.mjs';
import { bundledPackages, noticesOf } from './third-party-notices.mjs';
import { ensureWasm } from './wasm.mjs';

const dist = join(root, 'dist');
/** What users install beside us; and what Node brings. */
const external = [/^comlink($|\/)/, /^idb-keyval$/, /^node:/];
/** Names of the packages whose code is in our files. */
const bundled = new Set();

/** What every build has in common: none of the checkout's own configuration, nothing wiped. */
const common = { configFile: false, root, publicDir: false, logLevel: 'warn' };
const minified = { minify: true, comments: false };
const output = { outDir: dist, emptyOutDir: false, minify: false, target: 'es2022' };

await runMain(async () => {
  await stage('set-up', async () => {
    await ensureDependencies();
    await ensureWasm();
  });
  for (const name of existsSync(dist) ? readdirSync(dist) : []) {
    if (name !== 'workbench' && name !== 'docs')
      rmSync(join(dist, name), { recursive: true, force: true });
  }
  await stage('for browsers', async () => {
    const drivers = await buildWorker('iothread-worker.js', 'src/iothread/worker.ts');
    await buildEntries({ index: 'src/index.ts', v86: 'src/adapters/v86.ts' }, drivers);
    await buildInline('inline.js', 'src/index.ts', 'src/iothread/worker.ts');
    for (const name of ['iothread-worker.js', 'inline.js', ...drivers])
      await checkImportsNothing(name);
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
 * @param {readonly string[]} drivers files that the worker loads
 */
async function buildEntries(entry, drivers) {
  const { build } = await import('vite');
  await build({
    ...common,
    plugins: [publishedUrls(drivers), bundledPackages(bundled)],
    build: {
      ...output,
      lib: { entry, formats: ['es'] },
      rolldownOptions: { external, output: { chunkFileNames: 'chunks/shared.js' } },
    },
  });
}

/**
 * The worker for browsers, and the files that it loads. Minified, since pages that start workers by
 * URL serve them as they are, and no bundler gets to do it.
 * @param {string} name of the worker's file
 * @param {string} entry source
 * @returns {Promise<string[]>} the other files
 */
async function buildWorker(name, entry) {
  const { build } = await import('vite');
  const [{ output: files }] = await build({
    ...common,
    plugins: [terse(), driverFiles(entry), bundledPackages(bundled)],
    build: {
      ...output,
      lib: { entry, formats: ['es'], fileName: () => name },
      rolldownOptions: {
        ...driverSplitting,
        output: { ...minified, ...driverSplitting.output },
      },
    },
  });
  return files.filter((file) => !file.isEntry).map((file) => file.fileName);
}

/**
 * One ES module that needs no other file: the entry, what it imports, and the worker as text.
 * @param {string} name of the output
 * @param {string} entry source
 * @param {string} worker source
 */
async function buildInline(name, entry, worker) {
  const { build } = await import('vite');
  const oneFile = { ...minified, codeSplitting: false };
  const one = (lib, plugins, write) =>
    build({
      ...common,
      plugins: [terse(), ...plugins, bundledPackages(bundled)],
      build: {
        ...output,
        write,
        lib: { formats: ['es'], ...lib },
        rolldownOptions: { output: oneFile },
      },
    });
  const [{ output: made }] = await one({ entry: worker, fileName: 'worker' }, [], false);
  await one({ entry, fileName: () => name }, [inlineWorker(made[0].code)], true);
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
 * A file that may lie anywhere imports nothing: neither packages nor chunks.
 * @param {string} name
 */
async function checkImportsNothing(name) {
  const { parseAst } = await import('vite');
  const imports = parseAst(readFileSync(join(dist, name), 'utf8')).body.find(
    ({ type, source }) => type === 'ImportDeclaration' || source,
  );
  if (imports) throw new SetupError(`${name} imports ${imports.source.value}`);
}
