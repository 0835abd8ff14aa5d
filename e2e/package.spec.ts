// The package as strangers get it: packed, unpacked into projects of theirs, built with their tools,
// run in a browser. `npm run build` first; `npm test` does.

import type { Page } from '@playwright/test';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Packed, ConsumerProject, pack } from './consumers/project.ts';
import { type Example, exampleNamed, readExamples } from './consumers/readme.ts';
import { HEADERS, serveFolder } from './consumers/serve.ts';
import { expect, test } from './fixtures.ts';
import { freePort } from './setup/free-port.mjs';
import { WORKER_LIMIT, packageSizes, sizesInReadme } from './setup/package-sizes.mjs';

test.use({ shareBrowser: true });

let scratch: string | undefined;
let packed: Packed;
let project: ConsumerProject;
/** Of the README in the package. */
let examples: readonly Example[];

test.beforeAll(async () => {
  const built = join(import.meta.dirname, '../dist/inline.js');
  if (!existsSync(built)) throw new Error('there is no package in dist/: npm run build');
  scratch = mkdtempSync(join(tmpdir(), 'diskplane-packed-'));
  packed = await pack(scratch);
});
test.afterAll(() => {
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
});

test.beforeEach(async () => {
  project = new ConsumerProject();
  await project.install(packed);
  examples = readExamples(join(project.package, 'README.md'));
});
test.afterEach(() => project.remove());

function manifestOf({ package: folder }: ConsumerProject): {
  readonly exports: Record<string, string | Record<string, string>>;
} {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as ReturnType<
    typeof manifestOf
  >;
}

/**
 * Opens a consumer's page: what it wrote must be what it read, and be in OPFS, as qcow2; and in
 * IndexedDB, by a driver that is not in the worker's own file.
 */
async function proveRoundTrip(page: Page, url: string): Promise<void> {
  const failures: string[] = [];
  page.on('pageerror', (error) => failures.push(String(error)));
  await page.goto(url);
  const text = page.locator('body');
  await expect
    .poll(async () => (await text.textContent())?.trim() || failures[0])
    .toBe('qcow2: written and read, idb: written and read');
  const databases = await page.evaluate(() => indexedDB.databases());
  expect(databases).toHaveLength(1);
  const magic = await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const file = await (await root.getFileHandle('disk.qcow2')).getFile();
    return [...new Uint8Array(await file.slice(0, 4).arrayBuffer())];
  });
  expect(magic).toEqual([0x51, 0x46, 0x49, 0xfb]);
}

/** The URLs of a consumer, without the server's own. */
interface Served {
  readonly workers: readonly string[];
  /** Files that the workers took drivers from. */
  readonly drivers: readonly string[];
}

/** The same, for what a tool left in a folder of the project. */
async function proveServed(
  page: Page,
  folder: string,
  { path = '', then = async () => {} }: { path?: string; then?: () => Promise<void> } = {},
): Promise<Served> {
  const workers: string[] = [];
  page.on('worker', (worker) => workers.push(worker.url()));
  const drivers: string[] = [];
  page.context().on('request', (request) => {
    if (request.url().includes('idb')) drivers.push(request.url());
  });
  const server = await serveFolder(folder);
  try {
    await proveRoundTrip(page, `${server.url}/${path}`);
    await then();
  } finally {
    await page.goto('about:blank');
    await server.close();
  }
  const own = (url: string): string => url.replace(server.url, '');
  return { workers: workers.map(own), drivers: [...new Set(drivers)].map(own) };
}

test('holds what its exports name, and nothing of the checkout', () => {
  const targets = Object.values(manifestOf(project).exports).flatMap((target) =>
    typeof target === 'string' ? [target] : Object.values(target),
  );
  expect(targets.length).toBeGreaterThan(10);
  expect(targets.filter((target) => !packed.files.includes(target.slice(2)))).toEqual([]);
  const top = new Set(packed.files.map((path) => path.replace(/\/.*/, '/')));
  expect([...top].sort()).toEqual(['LICENSE', 'README.md', 'dist/', 'package.json']);
  expect(packed.files.filter((path) => path.startsWith('dist/workbench'))).toEqual([]);
  const notices = readFileSync(join(project.package, 'dist/THIRD-PARTY-NOTICES.txt'), 'utf8');
  expect(notices).toMatch(/^comlink 4\.\d+\.\d+ \(Apache-2\.0\)$/m);
  expect(notices).toContain('TERMS AND CONDITIONS');
});

test('pleases publint and attw', async () => {
  const { publint } = await import('publint');
  const { messages } = await publint({ pkgDir: project.package, pack: false, strict: true });
  expect(messages).toEqual([]);
  const attw = '@arethetypeswrong/cli/dist/index.js';
  const report = await project.run(attw, [packed.tarball, '--profile', 'esm-only', '--no-emoji']);
  const entries = Object.keys(manifestOf(project).exports).length;
  expect(report.match(/^(node16 \(from ESM\)|bundler): OK\b.*$/gm)).toHaveLength(2 * entries);
});

/** What the README's later examples take from the first one. */
const FROM_THE_FIRST: Readonly<Record<string, string>> = {
  emulator: "import('v86').V86",
  disk: "import('diskplane').Disk",
  device: "import('diskplane/v86').V86Device",
};

test('has types, and the README examples that they allow', async () => {
  const programs = examples.filter(({ language }) => language === 'ts');
  const [example = '', ...later] = programs.map(({ code }) => code);
  expect(example).toContain('attachVirtioBlk');
  expect(later.length).toBeGreaterThan(0);
  project.depend('v86');
  const files = ['main.ts', ...later.map((_, i) => `later-${i}.ts`)];
  for (const [i, code] of later.entries()) {
    const known = Object.entries(FROM_THE_FIRST).filter(
      ([name]) => !code.includes(`const ${name}`),
    );
    const declared = known.map(([name, type]) => `declare const ${name}: ${type};\n`).join('');
    writeFileSync(join(project.folder, `later-${i}.ts`), `export {};\n${declared}${code}`);
  }
  const others = `import * as inline from 'diskplane/inline';
import 'diskplane/worker';
await using again = await inline.openDisk('memory:1M', { workerUrl: '/worker.js' });
// @ts-expect-error: a disk is named by a string or by options
await inline.openDisk(1);
again.close satisfies () => Promise<void>;
`;
  writeFileSync(join(project.folder, 'main.ts'), example + others);
  writeFileSync(join(project.folder, 'package.json'), '{ "type": "module" }');
  const compilerOptions = {
    strict: true,
    noEmit: true,
    module: 'nodenext',
    target: 'es2022',
    lib: ['es2024', 'esnext.disposable', 'dom'],
    types: [],
    skipDefaultLibCheck: true,
  };
  const config = JSON.stringify({ compilerOptions, files });
  writeFileSync(join(project.folder, 'tsconfig.json'), config);
  expect(await project.run('typescript/bin/tsc', ['-p', '.'])).toBe('');
});

test('runs in Node', async () => {
  project.add('node');
  expect((await project.run('main.mjs')).trim()).toBe('written and read');
  expect(readFileSync(join(project.folder, 'disk.qcow2')).toString('latin1', 0, 4)).toBe('QFI\xfb');
});

test('is built by vite', async ({ page }) => {
  project.add('bundler');
  await project.run('vite/bin/vite.js', ['build', '--logLevel', 'warn', '--target', 'es2022']);
  const { workers, drivers } = await proveServed(page, join(project.folder, 'dist'));
  expect(workers[0]).toMatch(/^\/assets\/iothread-worker-[\w-]+\.js$/);
  expect(drivers).toEqual([expect.stringMatching(/^\/assets\/idb-[\w-]+\.js$/)]);
});

test('is served by vite while somebody develops', async ({ page }) => {
  project.add('bundler');
  const config = exampleNamed(examples, 'vite.config.mjs');
  writeFileSync(join(project.folder, 'vite.config.mjs'), config);
  const port = await freePort();
  const args = ['--port', `${port}`, '--strictPort', '--host', '127.0.0.1', '--logLevel', 'warn'];
  const server = project.start('vite/bin/vite.js', args);
  try {
    const url = `http://127.0.0.1:${port}/`;
    await expect
      .poll(() =>
        fetch(url).then(
          ({ ok }) => ok,
          () => false,
        ),
      )
      .toBe(true);
    await proveRoundTrip(page, url);
  } finally {
    await page.goto('about:blank');
    server.kill();
  }
});

test('is built by webpack', async ({ page }) => {
  project.add('bundler');
  const { default: webpack } = await import('webpack');
  const compiler = webpack({
    mode: 'production',
    context: project.folder,
    entry: './main.js',
    output: { path: join(project.folder, 'dist'), filename: 'main.js' },
    performance: false,
    optimization: { minimize: false },
  });
  const problems = await new Promise<string>((resolve, reject) => {
    compiler.run((error, stats) => {
      if (error) reject(error);
      else resolve(stats!.toString({ all: false, errors: true, warnings: true }));
    });
  });
  await new Promise<void>((resolve) => compiler.close(() => resolve()));
  expect(problems).toBe('');
  cpSync(join(project.folder, 'index.html'), join(project.folder, 'dist/index.html'));
  const { workers } = await proveServed(page, join(project.folder, 'dist'));
  expect(workers[0]).toMatch(/^\/\d+\.main\.js$/);
});

test('is built by esbuild, with the worker and its drivers copied beside', async ({ page }) => {
  project.add('worker-url');
  for (const name of ['esbuild', `@esbuild/${process.platform}-${process.arch}`]) {
    project.depend(name);
  }
  writeFileSync(join(project.folder, 'build.mjs'), exampleNamed(examples, 'build.mjs'));
  expect(await project.run('build.mjs')).toBe('');
  const outdir = join(project.folder, 'dist');
  cpSync(join(project.folder, 'index.html'), join(outdir, 'index.html'));
  expect(await proveServed(page, outdir)).toEqual({
    workers: ['/iothread-worker.js?v=1'],
    drivers: ['/drivers/idb.js'],
  });
});

test('runs without a bundler, the worker inline', async ({ page }) => {
  project.add('plain');
  const { workers, drivers } = await proveServed(page, project.folder, { path: 'inline.html' });
  expect(drivers).toEqual([]);
  expect(workers.length).toBe(6);
  expect(workers.filter((url) => !url.startsWith('blob:'))).toEqual([]);
});

test('runs as the README says without tools', async ({ page }) => {
  writeFileSync(join(project.folder, 'visits.html'), exampleNamed(examples, 'visits.html'));
  const server = await serveFolder(project.folder);
  try {
    for (const visit of [1, 2]) {
      await page.goto(`${server.url}/visits.html`);
      await expect(page.locator('p')).toHaveText(`Visits: ${visit}`);
    }
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  } finally {
    await page.goto('about:blank');
    await server.close();
  }
});

test('shows no example in its README that is not tried', () => {
  const named = examples.filter(({ language }) => !['ts', 'sh', ''].includes(language));
  expect(named.map(({ file }) => file)).toEqual(['vite.config.mjs', 'build.mjs', 'visits.html']);
  const headers = examples.filter(({ language }) => language === '');
  expect(headers.map(({ code }) => code)).toEqual([
    ['Opener', 'Embedder']
      .map((who) => `Cross-Origin-${who}-Policy: ${HEADERS[`Cross-Origin-${who}-Policy`]}\n`)
      .join(''),
  ]);
});

test('runs with a worker of another origin, or of the page’s making', async ({ page }) => {
  project.add('plain');
  const cdn = await serveFolder(join(project.package, 'dist'));
  const inProject = '/node_modules/diskplane/dist';
  try {
    const query = `?worker=${encodeURIComponent(`${cdn.url}/iothread-worker.js`)}`;
    const path = `other-origin.html${query}`;
    const then = () => proveMissingDriver(page);
    const { workers, drivers } = await proveServed(page, project.folder, { path, then });
    expect(workers.slice(0, 3).map((url) => url.replace(/^(blob:).*/, '$1'))).toEqual([
      `${inProject}/iothread-worker.js`,
      'blob:',
      `${inProject}/iothread-worker.js`,
    ]);
    expect(drivers).toEqual([`${inProject}/drivers/idb.js`, `${cdn.url}/drivers/idb.js`]);
  } finally {
    await cdn.close();
  }
});

/** A driver's file that is not there: the error says where it was looked for, and what to do. */
async function proveMissingDriver(page: Page): Promise<void> {
  const error = await page.evaluate(async () => {
    const name = 'diskplane'; // The page's import map says where that is.
    const { openDisk } = (await import(name)) as typeof import('../src/index.ts');
    return openDisk('memory:1M', { driversUrl: './nowhere' }).then(
      () => undefined,
      ({ code, message }: Error & { code: string }) => ({ code, message }),
    );
  });
  expect(error?.code).toBe('ENOENT');
  expect(error?.message).toMatch(/'memory' .*http:.*\/nowhere\/memory\.js.*`driversUrl`/);
}

test('is as small as the README says', () => {
  const said = sizesInReadme();
  const measured = packageSizes();
  expect(Object.keys(said)).toEqual(measured.map(({ file }) => file));
  const wrong = measured.filter(
    ({ file, gzipped }) => Math.abs(said[file]! - gzipped) > Math.max(100, 0.05 * gzipped),
  );
  expect(wrong, 'npm run build -- --readme puts them right').toEqual([]);
  const worker = measured.find(({ file }) => file === 'iothread-worker.js')!;
  expect(worker.gzipped, 'bytes that every page loads').toBeLessThanOrEqual(WORKER_LIMIT);
});
