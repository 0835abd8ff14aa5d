// Downloads the i386 Debian packages that the guest is made of: through apt with a state of its own
// (no root, the machine's package database untouched), or, without apt, from the mirror that
// DISKPLANE_DEBIAN_MIRROR names. Either way the contents are checked against signed or listed hashes
// by SHA-256: by apt itself, or here.

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, say, SetupError, which } from '../shell.mjs';
import { unxz } from './xz.mjs';

/** The release of Debian whose kernel the guest's set-up is made for. */
const RELEASE = 'bookworm';
const KERNEL = 'linux-image-686';
const BUSYBOX = 'busybox-static';

/**
 * @typedef {object} GuestPackages
 * @property {string} kernel path of the kernel's .deb
 * @property {string} busybox path of BusyBox's .deb
 * @property {Record<string, string>} versions package name to version
 */

/**
 * Downloads the packages into `folder`.
 * @param {string} folder exists
 * @returns {Promise<GuestPackages>}
 */
export async function downloadPackages(folder) {
  const mirror = process.env['DISKPLANE_DEBIAN_MIRROR'];
  if (mirror) return fromMirror(mirror.replace(/\/+$/, ''), folder);
  if (which('apt-get')) return fromApt(folder);
  throw new SetupError(
    'the guest is made of Debian packages, and there is no apt-get here: ' +
      'name a mirror, DISKPLANE_DEBIAN_MIRROR=https://…/debian',
  );
}

/**
 * @param {string} folder
 * @returns {Promise<GuestPackages>}
 */
async function fromApt(folder) {
  const state = join(folder, 'apt');
  mkdirSync(join(state, 'lists/partial'), { recursive: true });
  mkdirSync(join(state, 'archives/partial'), { recursive: true });
  const settings = {
    'Dir::State': state,
    'Dir::Cache': state,
    'Dir::State::status': '/dev/null',
    'Debug::NoLocking': '1',
    'APT::Sandbox::User': process.env['USER'] ?? 'root',
    'APT::Architecture': 'i386',
    'APT::Architectures::': 'i386',
    'Acquire::Languages': 'none',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  const inFolder = { cwd: folder, quiet: true, env: { LC_ALL: 'C' } };

  say("guest: reading apt's package lists for i386");
  // An unrelated source may fail while the lists that we need are fine: what resolves decides.
  await run('apt-get', [...options, 'update'], { ...inFolder, mayFail: true });
  const depends = await run('apt-cache', [...options, 'depends', KERNEL], {
    ...inFolder,
    mayFail: true,
  });
  const image = /Depends: (linux-image-\S+-686)\s/.exec(depends.output)?.[1];
  if (!image) {
    throw new SetupError(
      `apt's sources here do not offer ${KERNEL} for i386 (Debian ${RELEASE} does): ` +
        'name a mirror, DISKPLANE_DEBIAN_MIRROR=https://…/debian',
    );
  }
  say(`guest: downloading ${image} and ${BUSYBOX}`);
  await run('apt-get', [...options, 'download', image, BUSYBOX], inFolder);

  const found = readdirSync(folder).filter((name) => name.endsWith('.deb'));
  const debOf = (/** @type {string} */ name) => {
    const file = found.find((candidate) => candidate.startsWith(`${name}_`));
    if (!file) throw new SetupError(`apt-get download brought no ${name}`);
    return file;
  };
  const versionOf = (/** @type {string} */ name) => decodeURIComponent(debOf(name).split('_')[1]);
  return {
    kernel: join(folder, debOf(image)),
    busybox: join(folder, debOf(BUSYBOX)),
    versions: { [image]: versionOf(image), [BUSYBOX]: versionOf(BUSYBOX) },
  };
}

/**
 * @param {string} mirror without a slash at the end
 * @param {string} folder
 * @returns {Promise<GuestPackages>}
 */
async function fromMirror(mirror, folder) {
  say('guest: reading the package list of DISKPLANE_DEBIAN_MIRROR');
  const listName = 'main/binary-i386/Packages.xz';
  const release = (await fetchBytes(`${mirror}/dists/${RELEASE}/Release`)).toString();
  const list = await fetchBytes(`${mirror}/dists/${RELEASE}/${listName}`);
  checkHash(list, listedHash(release, listName), listName);
  const packages = parsePackages((await unxz(list, 1 << 28)).toString());

  const image = /(linux-image-\S+-686)\s/.exec(entryOf(packages, KERNEL)['Depends'])?.[1];
  if (!image) throw new SetupError(`${KERNEL} on the mirror depends on no kernel image`);
  /** @type {Record<string, string>} */
  const versions = {};
  const paths = [];
  for (const name of [image, BUSYBOX]) {
    const entry = entryOf(packages, name);
    say(`guest: downloading ${name} (${(Number(entry['Size']) / 1e6).toFixed(0)} MB)`);
    const deb = await fetchBytes(`${mirror}/${entry['Filename']}`);
    checkHash(deb, entry['SHA256'], name);
    const path = join(folder, `${name}.deb`);
    writeFileSync(path, deb);
    paths.push(path);
    versions[name] = entry['Version'];
  }
  return { kernel: paths[0], busybox: paths[1], versions };
}

/**
 * @param {string} url
 * @returns {Promise<Buffer>}
 */
async function fetchBytes(url) {
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new SetupError(`cannot reach DISKPLANE_DEBIAN_MIRROR: ${error.cause ?? error}`);
  }
  if (!response.ok) throw new SetupError(`the mirror answered ${response.status} for ${url}`);
  return Buffer.from(await response.arrayBuffer());
}

/**
 * The hash that a Release file lists in its SHA256 section: lines of hash, size, name.
 * @param {string} release
 * @param {string} name
 * @returns {string | undefined}
 */
function listedHash(release, name) {
  const section = release.split(/^SHA256:\s*$/m)[1] ?? '';
  const line = section.split('\n').find((candidate) => candidate.endsWith(` ${name}`));
  return line?.trim().split(/\s+/)[0];
}

/**
 * @param {Buffer} bytes
 * @param {string | undefined} expected
 * @param {string} name
 */
function checkHash(bytes, expected, name) {
  const actual = createHash('sha256').update(bytes).digest('hex');
  if (actual !== expected) {
    throw new SetupError(`${name} from the mirror has SHA-256 ${actual}, not ${expected}`);
  }
}

/**
 * Reads a Packages file: stanzas of `Key: value` lines, parted by empty lines.
 * @param {string} text
 * @returns {Map<string, Record<string, string>>} by package name
 */
function parsePackages(text) {
  const packages = new Map();
  for (const stanza of text.split('\n\n')) {
    const pairs = stanza.matchAll(/^([A-Za-z0-9-]+): (.*)$/gm);
    const entry = Object.fromEntries(Array.from(pairs, ([, key, value]) => [key, value]));
    if (entry['Package']) packages.set(entry['Package'], entry);
  }
  return packages;
}

/**
 * @param {Map<string, Record<string, string>>} packages
 * @param {string} name
 */
function entryOf(packages, name) {
  const entry = packages.get(name);
  if (!entry) throw new SetupError(`the mirror's ${RELEASE} has no ${name} for i386`);
  return entry;
}
