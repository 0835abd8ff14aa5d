// What a page pays for the package, measured on dist/, and the table of it in the README. The table
// stands between two markers; a test compares it with dist/.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { root, SetupError } from './shell.mjs';

const readme = join(root, 'README.md');
const marked = /(<!-- sizes: npm run build -- --readme -->\n)[\s\S]*?(<!-- end of sizes -->)/;

/** Bytes that the worker's file may have, gzipped: every page that opens a disk loads it. */
export const WORKER_LIMIT = 45_000;

const files = {
  'index.js': 'the API',
  'chunks/shared.js': 'what the API and the adapter for v86 share',
  'v86.js': 'the adapter for v86',
  'iothread-worker.js': 'the worker, with `opfs`, `http`, `raw` and `qcow2`',
  'inline.js': 'API and worker with every driver in one file (`diskplane/inline`)',
};
/** What the worker loads when it is first used. Files that are not named here are drivers. */
const parts = {
  'batched-handle': 'batches for `opfs` in private windows, where it is slow',
  'chain-status': 'what conversions, exports and maps share',
  commit: '`Disk.commit`, `IOThread.commitAll`',
  convert: '`Disk.convertTo`',
  'copy-up': 'what `copy-on-read` stores',
  create: '`createDisk`',
  export: '`Disk.exportImage`, `Disk.exportNode`',
  'idb-opens': '`opfs` in Firefox before 126',
  import: '`importDisk`',
  inactivate: '`IOThread.inactivateAll`, `IOThread.activateAll`',
  layout: 'what making and streaming qcow2 images share',
  map: '`Disk.map`',
  'node-upkeep': '`Disk.check`, `Disk.generation` and `Disk.reset`, whatever the format',
  'opfs-ahead': 'files in `opfs` on their way to another IOThread',
  'opfs-failure': 'words for files in `opfs` that cannot be opened',
  'opfs-files': '`createDisk` and the like in `opfs`',
  'opfs-in-idb': '`opfs` in browsers that need IndexedDB for it',
  'opfs-shared': '`opfs` with `share`: several IOThreads, one file',
  'opfs-webkit': '`opfs` in WebKit, where a file is in use',
  'packed-code': 'packed rings, where a transport asks for them',
  'parse-settings': 'disks with `cache`, `detect-zeroes` or `discard`',
  policy: 'images that name their backing file themselves',
  'port-devices': 'transport by messages, for pages that are not isolated',
  probe: 'disks that are opened without a `driver`',
  reopen: '`Disk.reopen`, `IOThread.blockdevReopen`',
  'reopen-swap': 'what reopening, inactivation and commits share',
  'qcow2-check': 'check and repair of qcow2 images',
  'qcow2-create': 'making of qcow2 images',
  'qcow2-make-empty': '`Disk.reset` of qcow2 images',
  'qcow2-resize': 'resizing of qcow2 images',
  'qcow2-store-generation': '`Disk.generation` of qcow2 images',
  'qcow2-stream': 'qcow2 images as streams',
  'qcow2-unsupported-feature': 'words for qcow2 images that cannot be opened',
  'raw-head': 'raw images whose format was guessed',
  'raw-create': 'making of raw images',
  'refcount-growth': 'qcow2 images that grow: a refcount block every 2 GiB',
  'rolldown-runtime': "the bundler's own, for `create` and `probe`",
  'seldom-calls': 'control calls: jobs, moves, statistics, saved states',
  'shared-memory': 'disks in `memory` with `share`',
  'write-watch': 'what `Disk.convertTo` and the exports share',
};

/** @returns {{ file: string, what: string }[]} */
function publishedFiles() {
  const drivers = readdirSync(join(root, 'dist/drivers')).sort();
  return [
    ...Object.entries(files).map(([file, what]) => ({ file, what })),
    ...drivers.map((file) => {
      const name = basename(file, '.js');
      return { file: `drivers/${file}`, what: parts[name] ?? `driver \`${name}\`` };
    }),
  ];
}

/**
 * As a page gets them, minified or not.
 * @returns {{ file: string, what: string, bytes: number, gzipped: number }[]}
 */
export function packageSizes() {
  return publishedFiles().map(({ file, what }) => {
    const data = readFileSync(join(root, 'dist', file));
    return { file, what, bytes: data.length, gzipped: gzipSync(data, { level: 9 }).length };
  });
}

/** @returns {Record<string, number>} bytes gzipped, by file, as the README says */
export function sizesInReadme() {
  const table = marked.exec(readFileSync(readme, 'utf8'))?.[0] ?? '';
  const rows = [...table.matchAll(/^\| `([^`]+)`\s*\|[^|]*\|\s*([\d.]+) KB\s*\|$/gm)];
  return Object.fromEntries(rows.map(([, file, kilobytes]) => [file, Number(kilobytes) * 1000]));
}

/** Writes the present sizes into the README, as prettier wants it. */
export function putSizesIntoReadme() {
  const text = readFileSync(readme, 'utf8');
  if (!marked.test(text)) throw new SetupError('README.md has no markers for the sizes');
  const rows = packageSizes().map(({ file, what, gzipped }) => [
    `\`${file}\``,
    what,
    `${(gzipped / 1000).toFixed(1)} KB`,
  ]);
  const head = ['file', 'what it is', 'gzipped'];
  const widths = head.map((title, i) =>
    Math.max(...[title, ...rows.map((row) => row[i])].map(({ length }) => length)),
  );
  const line = (cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |\n`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |\n`;
  const table = `\n${line(head)}${rule}${rows.map(line).join('')}\n`;
  writeFileSync(readme, text.replace(marked, `$1${table}$2`));
}
