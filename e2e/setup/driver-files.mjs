// The worker's chunks as files that import nothing. A chunk shares code with the worker: as an ES
// module it would import the worker's URL, which a query string, a Blob or a bundler changes, and then
// there would be two of each class. So the bundler splits as ever, and then each `import`, `export`
// and `import()` between the files becomes a call of src/iothread/driver-files.ts, which links them.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, SetupError } from './shell.mjs';

/** Drivers in the worker's own file: what most pages open. */
const inWorker = [
  './formats/raw.ts',
  './formats/qcow2/qcow2.ts',
  './protocols/opfs.ts',
  './protocols/http.ts',
];
const registry = 'src/block/registry.ts';

const path = (/** @type {string} */ id) => id.replaceAll('\\', '/').replace(/\?.*$/, '');
const nameOf = (/** @type {string} */ file) => file.replace(/^.*\/|\.js$/g, '');

/**
 * How the bundler splits: all that the worker imports goes into its own file, whoever shares it, and
 * the others are `drivers/idb.js`, `drivers/null-co.js`, `drivers/qcow2-check.js`.
 */
export const driverSplitting = {
  preserveEntrySignatures: 'allow-extension',
  // Numbers that files share: shorter in each than handed over.
  optimization: { inlineConst: { mode: 'all', pass: 2 } },
  output: {
    codeSplitting: { groups: [{ name: 'worker', tags: ['$initial'] }] },
    chunkFileNames({ facadeModuleId, name }) {
      const found = /\/src\/block\/[^/]+\/(.*)\.ts$/.exec(path(facadeModuleId ?? ''))?.[1];
      return `drivers/${found?.replace(/^([^/]+)\/\1$/, '$1').replaceAll('/', '-') ?? name}.js`;
    },
  },
};

/**
 * For a build of the worker that is split so.
 * @param {string} entry the worker's source
 * @returns {import('vite').Plugin}
 */
export function driverFiles(entry) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const hash = '__DISKPLANE_HASH__';
  const build = `${version}+${hash}`;
  const linker = path(join(root, 'src/iothread/driver-files.ts'));
  return {
    name: 'diskplane:driver-files',
    enforce: 'pre',
    transform(code, id) {
      const file = path(id);
      if (file === path(join(root, registry))) return withDrivers(code);
      const exports = '{ loadDriverFile, provideToDriverFiles }';
      return file === path(join(root, entry))
        ? `${code}\nexport ${exports} from ${JSON.stringify(linker)};`
        : null;
    },
    renderChunk(code, chunk) {
      const program = this.parse(code);
      return chunk.isEntry ? linkWorker(code, program, build) : linkFile(code, program, build);
    },
    generateBundle(_options, bundle) {
      const worker = Object.values(bundle).find((file) => file.isEntry);
      // What the minifier took away: bundlers of users must leave this one import alone.
      const annotated = 'import(/* @vite-ignore */ /* webpackIgnore: true */ ';
      const parts = worker.code.split(/\bimport\((?=[\w$]+\))/);
      if (parts.length !== 2) throw new SetupError('the worker has not one place to load files');
      worker.code = parts.join(annotated);
      // Files of two builds do not fit together, whatever the package's version.
      const files = Object.values(bundle).sort((a, b) => (a.fileName < b.fileName ? -1 : 1));
      const all = createHash('sha256').update(files.map(({ code }) => code).join('\n'));
      const short = all.digest('hex').slice(0, 8);
      for (const file of files) file.code = file.code.replaceAll(hash, short);
    },
  };
}

/** The registry, with those drivers imported that are to be in the worker's own file. */
function withDrivers(code) {
  let text = code;
  inWorker.forEach((file, i) => {
    const lazy = `import('${file}')`;
    if (!text.includes(lazy)) throw new SetupError(`${registry} has no ${lazy}`);
    const eager = text.replace(lazy, `Promise.resolve({ driver: driver${i} })`);
    text = `import { driver as driver${i} } from '${file}';\n${eager}`;
  });
  return text;
}

/** The worker hands its exports to the loader, and loads files through it. */
function linkWorker(code, program, build) {
  const exported = new Map();
  const edits = [];
  for (const node of program.body) {
    if (isImport(node)) throw new SetupError(`the worker imports ${node.source.value}`);
    if (node.type !== 'ExportNamedDeclaration') continue;
    for (const [name, local] of specifiersOf(node)) exported.set(name, local);
    edits.push({ node, text: '' });
  }
  const load = exported.get('loadDriverFile');
  const provide = exported.get('provideToDriverFiles');
  exported.delete('loadDriverFile');
  exported.delete('provideToDriverFiles');
  const object = [...exported].map(([name, local]) => `${name}: ${local}`).join(', ');
  edits.push(...loadsIn(program, load));
  return `${edited(code, edits)}\n${provide}({ ${object} }, ${JSON.stringify(build)});\n`;
}

/** A file becomes a function: what it imports, it asks for; what it exports, it answers. */
function linkFile(code, program, build) {
  const edits = loadsIn(program, 'need');
  for (const node of program.body) {
    if (isImport(node)) {
      const file = node.source.value;
      const name = file.startsWith('../') ? '' : JSON.stringify(nameOf(file));
      const taken = node.specifiers.map(({ imported, local }) => `${imported.name}: ${local.name}`);
      edits.push({ node, text: `const { ${taken.join(', ')} } = await need(${name});` });
    } else if (node.type === 'ExportNamedDeclaration') {
      const given = specifiersOf(node).map(([name, local]) => `${name}: ${local}`);
      edits.push({ node, text: `return { ${given.join(', ')} };` });
    }
  }
  const body = edited(code, edits);
  return `export const build = ${JSON.stringify(build)};
export async function load(need) {
${body}
}
`;
}

/** Edits that turn `import('./drivers/idb.js')` into `load('idb')`. */
function loadsIn(program, load) {
  const edits = [];
  const visit = (node) => {
    if (typeof node !== 'object' || node === null) return;
    if (node.type === 'ImportExpression' && node.source.type === 'Literal') {
      edits.push({ node, text: `${load}(${JSON.stringify(nameOf(node.source.value))})` });
    }
    Object.values(node).forEach(visit);
  };
  visit(program);
  return edits;
}

const isImport = (node) => node.type === 'ImportDeclaration';

/** Names outside and inside of `export { inside as outside }`, the one form that bundlers write. */
function specifiersOf(node) {
  if (node.declaration || node.source) throw new SetupError('an export of an unknown form');
  return node.specifiers.map(({ exported, local }) => [exported.name, local.name]);
}

function edited(code, edits) {
  let text = code;
  for (const { node, text: by } of [...edits].sort((a, b) => b.node.start - a.node.start)) {
    text = text.slice(0, node.start) + by + text.slice(node.end);
  }
  return text;
}
