// Where an entry looks for its worker and the worker's drivers. The sources start their worker from
// its source; the published entry from files beside it, by literal expressions `new URL('./file.js',
// import.meta.url)`, which are what bundlers of users look for; `./inline` from a Blob.

import { basename } from 'node:path';
import { SetupError } from './shell.mjs';

const workerInSources = /new URL\(\s*'\.\/iothread\/worker\.ts',\s*import\.meta\.url,?\s*\)/;
const driversInSources = /\/src\/published-drivers\.ts$/;

const literal = (/** @type {string} */ file) => `new URL('./${file}', import.meta.url)`;

/**
 * Puts the expressions into the output. Vite would write longer ones, which others do not understand;
 * so it must not see them.
 * @param {readonly string[]} drivers files that the worker loads
 * @returns {import('vite').Plugin}
 */
export function publishedUrls(drivers) {
  const worker = '__DISKPLANE_WORKER_URL__';
  const urls = '__DISKPLANE_DRIVER_URLS__';
  const lines = drivers.map((file) => `\t'${basename(file, '.js')}': ${literal(file)},\n`);
  return {
    name: 'diskplane:published-urls',
    enforce: 'pre',
    load: (id) =>
      driversInSources.test(id.replaceAll('\\', '/'))
        ? `export function publishedDriverUrls() { return ${urls}; }`
        : null,
    transform: (code) =>
      workerInSources.test(code) ? code.replace(workerInSources, worker) : null,
    generateBundle(_options, bundle) {
      for (const [token, text] of [
        [worker, literal('iothread-worker.js')],
        [urls, `{\n${lines.join('')}}`],
      ]) {
        const users = Object.values(bundle).filter((file) => file.code?.includes(token));
        if (users.map((file) => file.fileName).join() !== 'index.js') {
          throw new SetupError(`files must be looked for in index.js, by a literal: ${text}`);
        }
        users[0].code = users[0].code.replace(token, text);
      }
    },
  };
}

/**
 * Puts a Blob of the worker's text where the sources name its URL. Made when the first worker is.
 * @param {string} text
 * @returns {import('vite').Plugin}
 */
export function inlineWorker(text) {
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
