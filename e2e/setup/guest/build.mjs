// Makes the guest: a Linux kernel, an initial RAM disk and a root disk, from Debian's packages. No root,
// no mount, no loop device. guest.json is written last and says what the other files are.

import { createHash } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { say } from '../shell.mjs';
import { unpackDeb } from './deb.mjs';
import { buildInitrd } from './initrd.mjs';
import { unpackKernel } from './kernel.mjs';
import { downloadPackages } from './packages.mjs';
import { buildRootfs } from './rootfs.mjs';

/** What v86 must give the guest at least: the RAM disk is loaded at 64 MiB. */
const MEMORY_MIB = 128;

/**
 * Builds everything into `output`.
 * @param {string} output an empty folder
 * @param {string} scratch another one; the caller removes it
 */
export async function buildGuest(output, scratch) {
  const downloads = join(scratch, 'packages');
  mkdirSync(downloads);
  const { kernel, busybox, versions } = await downloadPackages(downloads);
  say('guest: unpacking');
  const kernelFiles = join(scratch, 'kernel');
  const busyboxFiles = join(scratch, 'busybox');
  await unpackDeb(kernel, kernelFiles);
  await unpackDeb(busybox, busyboxFiles);
  const release = readdirSync(join(kernelFiles, 'lib/modules'))[0];
  const busyboxProgram = join(busyboxFiles, 'bin/busybox');

  say('guest: kernel, initrd, root disk');
  const bzImage = readFileSync(join(kernelFiles, 'boot', `vmlinuz-${release}`));
  writeFileSync(join(output, 'vmlinux.bin'), await unpackKernel(bzImage));
  const initrd = buildInitrd(join(kernelFiles, 'lib/modules', release), busyboxProgram);
  writeFileSync(join(output, 'initrd.gz'), initrd);
  const rootfsInputs = {
    busybox: busyboxProgram,
    licence: join(busyboxFiles, 'usr/share/doc/busybox-static/copyright'),
    kernelConfig: join(kernelFiles, 'boot', `config-${release}`),
  };
  await buildRootfs(rootfsInputs, join(output, 'rootfs.img'), join(scratch, 'rootfs'));
  const cmdline = readFileSync(new URL('./cmdline.txt', import.meta.url), 'utf8').trim();
  writeFileSync(join(output, 'cmdline.txt'), `${cmdline}\n`);

  /** @type {Record<string, { bytes: number, sha256: string }>} */
  const files = {};
  for (const name of ['vmlinux.bin', 'initrd.gz', 'rootfs.img', 'cmdline.txt']) {
    files[name] = await describe(join(output, name));
  }
  // The dev server sends this one to browsers, which unpack it on the way.
  const kernelPath = join(output, 'vmlinux.bin');
  await pipeline(
    createReadStream(kernelPath),
    createGzip({ level: 6 }),
    createWriteStream(`${kernelPath}.gz`),
  );
  const manifest = { kernel: release, packages: versions, memoryMiB: MEMORY_MIB, cmdline, files };
  writeFileSync(join(output, 'guest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** @param {string} path */
async function describe(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return { bytes: statSync(path).size, sha256: hash.digest('hex') };
}
