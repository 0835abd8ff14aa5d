// The initial RAM disk: BusyBox, the modules that a root disk needs, and a script that goes on to the
// root disk. An archive in cpio's "newc" form (cpio(5)), written here since its device nodes would
// need root, or the program cpio, to be made as files.

import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { pickModules } from './modules.mjs';

const DIRECTORY = 0o040755;
const SYMLINK = 0o120777;
const CHARACTER_DEVICE = 0o020600;
const PROGRAM = 0o100755;
const FILE = 0o100644;

/** Modules by what they are for: the script in the RAM disk loads those of the root disk it is told. */
const MODULE_SETS = {
  virtio: ['virtio_pci', 'virtio_blk'],
  ata: ['ata_piix', 'sd_mod'],
  ext4: ['crc32c_generic', 'ext4'],
};

/**
 * @param {string} modulesFolder /lib/modules/<version> of the unpacked kernel package
 * @param {string} busybox path of the program
 * @returns {Buffer} gzip of the archive
 */
export function buildInitrd(modulesFolder, busybox) {
  const archive = new CpioArchive();
  for (const name of ['bin', 'dev', 'proc', 'sys', 'mnt', 'root', 'modules']) {
    archive.add(name, DIRECTORY);
  }
  archive.add('dev/console', CHARACTER_DEVICE, Buffer.alloc(0), [5, 1]);
  archive.add('dev/null', CHARACTER_DEVICE, Buffer.alloc(0), [1, 3]);
  archive.add('dev/ttyS0', CHARACTER_DEVICE, Buffer.alloc(0), [4, 64]);
  archive.add('bin/busybox', PROGRAM, readFileSync(busybox));
  archive.add('bin/sh', SYMLINK, Buffer.from('busybox'));
  const stored = new Set();
  for (const [set, names] of Object.entries(MODULE_SETS)) {
    const modules = pickModules(modulesFolder, names);
    const order = modules.map(({ name }) => `${name}\n`).join('');
    archive.add(`modules/${set}`, FILE, Buffer.from(order));
    for (const { name, image } of modules) {
      if (!stored.has(name)) archive.add(`modules/${name}.ko`, FILE, image);
      stored.add(name);
    }
  }
  archive.add('init', PROGRAM, readFileSync(new URL('./initrd-init.sh', import.meta.url)));
  // Stored, not deflated: unpacking costs an emulated boot more than fetching these megabytes does
  // (433 against 523 million instructions to the prompt).
  return gzipSync(archive.end(), { level: 0 });
}

/** Collects files and writes them one after the other. */
class CpioArchive {
  /** @type {Buffer[]} */
  #parts = [];
  #inode = 1;

  /**
   * @param {string} name without a slash in front
   * @param {number} mode type and permissions
   * @param {Buffer} [data]
   * @param {readonly [number, number]} [device] major and minor number
   */
  add(name, mode, data = Buffer.alloc(0), device = [0, 0]) {
    const nameBytes = Buffer.from(`${name}\0`);
    // inode, mode, uid, gid, links, mtime, size, device of the file (2), device it is (2),
    // length of the name, checksum
    const fields = [
      this.#inode++,
      mode,
      0,
      0,
      1,
      0,
      data.length,
      0,
      0,
      ...device,
      nameBytes.length,
      0,
    ];
    const header = '070701' + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    this.#push(Buffer.concat([Buffer.from(header), nameBytes]));
    this.#push(data);
  }

  /** @returns {Buffer} the archive, with the entry that ends it */
  end() {
    this.add('TRAILER!!!', 0);
    return Buffer.concat(this.#parts);
  }

  /** @param {Buffer} bytes */
  #push(bytes) {
    this.#parts.push(bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4));
  }
}
