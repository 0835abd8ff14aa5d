// Picks kernel modules with all that they depend on, in the order they must be loaded. What depends on
// what stands in each module's .modinfo section as NUL-terminated strings, so neither depmod nor
// modules.dep is needed.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @typedef {object} KernelModule
 * @property {string} name with underscores
 * @property {Buffer} image without its signature
 */

/**
 * @param {string} folder /lib/modules/<version> of the unpacked kernel package
 * @param {readonly string[]} wanted names of modules; what is built in is left out
 * @returns {KernelModule[]} in loading order
 */
export function pickModules(folder, wanted) {
  const paths = new Map(
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [moduleName(path), join(folder, path)]),
  );
  /** @type {Map<string, KernelModule>} */
  const picked = new Map();
  const visiting = new Set();
  const visit = (/** @type {string} */ name) => {
    const path = paths.get(name);
    if (!path || visiting.has(name)) return;
    visiting.add(name);
    const image = readFileSync(path);
    dependenciesOf(image).forEach(visit);
    picked.set(name, { name, image: withoutSignature(image) });
  };
  wanted.map(moduleName).forEach(visit);
  return [...picked.values()];
}

/** @param {string} path */
function moduleName(path) {
  const file = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
  return file.replace(/\.ko$/, '').replaceAll('-', '_');
}

/** @param {Buffer} image */
function dependenciesOf(image) {
  const text = image.toString('latin1');
  const hard = [...text.matchAll(/\0depends=([^\0]*)\0/g)].flatMap((match) => match[1].split(','));
  const soft = [...text.matchAll(/\0softdep=pre: ([^\0]*)\0/g)].flatMap((match) => match[1].split(' ')); // prettier-ignore
  return [...hard, ...soft].filter(Boolean).map(moduleName);
}

/**
 * Cuts off the signature: this kernel loads unsigned modules, and checking RSA takes long in an emulator.
 * Layout: data, signature, 12 bytes that end in the signature's length (big-endian), the marker.
 * @param {Buffer} image
 */
function withoutSignature(image) {
  const marker = '~Module signature appended~\n';
  const end = image.length - marker.length;
  if (image.toString('latin1', end) !== marker) return image;
  return image.subarray(0, end - 12 - image.readUInt32BE(end - 4));
}
