// The root disk: an ext4 file system without a partition table, filled from a folder by `mke2fs -d`,
// which needs neither root nor a mount. Samples of known contents lie in it with their checksums, so
// that reads can be verified from inside the guest.

import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { run, SetupError, which } from '../shell.mjs';

const SIZE_MIB = 64;
/** Fixed, so that the same contents give the same image. */
const UUID = '6b736964-6c70-6e61-6521-000000000001';
/** BusyBox names that are not linked: it is process 1 that must be ours. */
const NOT_LINKED = new Set(['busybox', 'init', 'linuxrc']);

/**
 * @param {{ busybox: string, licence: string, kernelConfig: string }} inputs paths
 * @param {string} image path of the file to make
 * @param {string} scratch path of a folder to make and remove
 */
export async function buildRootfs(inputs, image, scratch) {
  const mke2fs = which('mke2fs');
  if (!mke2fs) throw new SetupError('the guest needs the program mke2fs (e2fsprogs)');
  for (const folder of ['bin', 'sbin', 'dev', 'proc', 'sys', 'tmp', 'run', 'mnt', 'root', 'etc']) {
    mkdirSync(join(scratch, folder), { recursive: true });
  }
  const busybox = readFileSync(inputs.busybox);
  copyFileSync(inputs.busybox, join(scratch, 'bin/busybox'));
  for (const applet of appletsOf(busybox)) symlinkSync('busybox', join(scratch, 'bin', applet));
  copyOurs('root-init.sh', join(scratch, 'sbin/init'));
  copyOurs('motd', join(scratch, 'etc/motd'));
  copyOurs('readme.txt', join(scratch, 'root/README'));
  chmodSync(join(scratch, 'bin/busybox'), 0o755);
  chmodSync(join(scratch, 'sbin/init'), 0o755);
  writeFileSync(join(scratch, 'boots'), '0\n');
  writeFileSync(join(scratch, 'etc/passwd'), 'root::0:0:root:/root:/bin/sh\n');
  writeFileSync(join(scratch, 'etc/group'), 'root:x:0:\n');
  mkdirSync(join(scratch, 'usr/share/doc/busybox'), { recursive: true });
  copyFileSync(inputs.licence, join(scratch, 'usr/share/doc/busybox/copyright'));
  writeSamples(join(scratch, 'usr/share'), inputs.kernelConfig);

  rmSync(image, { force: true });
  const extended = `root_owner=0:0,hash_seed=${UUID},lazy_itable_init=0`;
  const options = [
    '-q',
    '-t',
    'ext4',
    '-b',
    '4096',
    '-L',
    'guest',
    '-U',
    UUID,
    '-E',
    extended,
    '-d',
    scratch,
  ];
  await run(mke2fs, [...options, image, `${SIZE_MIB}M`], { quiet: true });
  rmSync(scratch, { recursive: true });
}

/**
 * @param {string} name of a file beside this one
 * @param {string} target
 */
function copyOurs(name, target) {
  writeFileSync(target, readFileSync(new URL(name, import.meta.url)));
}

/**
 * The names that a BusyBox answers to: one block of NUL-terminated, sorted strings in the program. (It
 * could be asked, but this machine need not be able to run it.)
 * @param {Buffer} busybox
 * @returns {string[]}
 */
function appletsOf(busybox) {
  const start = busybox.indexOf('\0[\0[[\0', 0, 'latin1') + 1;
  const names = busybox.toString('latin1', start, busybox.indexOf('\0\0', start)).split('\0');
  for (const name of ['awk', 'cttyhack', 'md5sum', 'mount', 'poweroff', 'setsid', 'sh']) {
    if (start === 0 || !names.includes(name)) {
      throw new SetupError(`the guest's BusyBox has no applet '${name}'`);
    }
  }
  return names.filter((name) => !NOT_LINKED.has(name));
}

/**
 * @param {string} share the folder usr/share
 * @param {string} kernelConfig path
 */
function writeSamples(share, kernelConfig) {
  const samples = join(share, 'samples');
  const checksums = join(share, 'checksums');
  mkdirSync(samples);
  mkdirSync(checksums);
  writeFileSync(join(samples, 'noise.bin'), noise(4 << 20));
  const lines = Array.from({ length: 65_536 }, (_, i) => `${String(i).padStart(15, '.')}\n`);
  writeFileSync(join(samples, 'lines.txt'), lines.join(''));
  writeHoles(join(samples, 'holes.bin'));
  copyFileSync(kernelConfig, join(samples, 'kernel.config'));
  for (const [file, algorithm] of [
    ['MD5SUMS', 'md5'],
    ['SHA256SUMS', 'sha256'],
  ]) {
    const sums = ['noise.bin', 'lines.txt', 'holes.bin', 'kernel.config'].map((name) => {
      const hash = createHash(algorithm)
        .update(readFileSync(join(samples, name)))
        .digest('hex');
      return `${hash}  /usr/share/samples/${name}\n`;
    });
    writeFileSync(join(checksums, file), sums.join(''));
  }
}

/**
 * Bytes of xorshift32 with seed 1, little-endian words.
 * @param {number} bytes a multiple of 4
 */
function noise(bytes) {
  const result = Buffer.alloc(bytes);
  let state = 1;
  for (let at = 0; at < bytes; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    result.writeInt32LE(state, at);
  }
  return result;
}

/** @param {string} path */
function writeHoles(path) {
  const file = openSync(path, 'w');
  for (const mebibyte of [0, 3, 5, 7]) {
    writeSync(file, Buffer.alloc(4096, `island at ${mebibyte} MiB\n`), 0, 4096, mebibyte << 20);
  }
  closeSync(file);
  truncateSync(path, 8 << 20);
}
