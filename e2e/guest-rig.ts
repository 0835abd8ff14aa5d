// A guest on any disk, in a blank page of the dev server: the workbench chooses the disk by itself, a
// test of what can go wrong wants its own. Runs in the page, as `globalThis.rig`.

import { V86 } from 'v86';
import wasmUrl from 'v86/build/v86.wasm?url';
import { attachVirtioBlk, sharedMemoryV86 } from '../src/adapters/v86.ts';
import type { V86Device } from '../src/adapters/v86.ts';
import { SerialConsole } from '../src/demo/machine/serial-console.ts';
import { createDisk, openDisk } from '../src/index.ts';
import type { BlockdevOptions, BlockError, Disk, IOThreadEvent } from '../src/index.ts';

export interface RigOptions {
  readonly disk: BlockdevOptions;
  /** Makes this image first. */
  readonly create?: BlockdevOptions;
  /** The embedded guest boots from the disk; Linux, from the kernel that the dev server has. */
  readonly guest: 'embedded' | 'linux';
  /** Puts the embedded guest onto it first; it is new. */
  readonly install?: boolean;
  readonly transport?: 'zero-copy' | 'bounce';
}

export interface Rig {
  readonly disk: Disk;
  readonly device: V86Device;
  readonly serial: SerialConsole;
  readonly events: IOThreadEvent[];
  /** The disk's IOThread. */
  readonly worker: Worker;
  /** Types; answers what the guest says until its next prompt. */
  type(keys: string): Promise<string>;
  /** Cuts the guest's power and closes the disk. */
  end(): Promise<void>;
}

declare global {
  var rig: Rig;
}

const PROMPT = /[^]*\nguest# ?$/;
/** Longer than anything takes; a guest that hangs must not hang the test. */
const LIMIT_MS = 240_000;

/** Boots to the guest's prompt; answers what it said, or the code and message of what went wrong. */
export async function boot(options: RigOptions): Promise<string> {
  const events: IOThreadEvent[] = [];
  let worker: Worker | undefined;
  const createWorker = (name: string): Worker =>
    (worker = new Worker(new URL('../src/iothread/worker.ts', import.meta.url), {
      type: 'module',
      name,
    }));
  try {
    if (options.create !== undefined) await createDisk(options.create);
    const onEvent = (event: IOThreadEvent): number => events.push(event);
    const disk = await openDisk(options.disk, { createWorker, onEvent });
    if (options.install === true) await install(disk);
    return await run(options, disk, worker!, events);
  } catch (error) {
    const said = (globalThis.rig as Rig | undefined)?.serial.text.slice(-500) ?? '';
    return `${(error as BlockError).code}: ${(error as Error).message}\n${said}`;
  }
}

async function install(disk: Disk): Promise<void> {
  const { embeddedDiskImage, PATTERN_LBA, SECTOR_BYTES } =
    await import('../src/demo/embedded-guest/disk-image.ts');
  // The rest is zeroes, as the new disk is.
  await disk.write(0, embeddedDiskImage().subarray(0, PATTERN_LBA * SECTOR_BYTES));
  await disk.flush();
}

async function run(
  options: RigOptions,
  disk: Disk,
  worker: Worker,
  events: IOThreadEvent[],
): Promise<string> {
  const linux = options.guest === 'linux';
  const emulator = new V86({
    disable_speaker: true,
    ...(options.transport === 'zero-copy'
      ? sharedMemoryV86({ wasm: fetch(wasmUrl) })
      : { wasm_path: wasmUrl }),
    bios: { buffer: await load('/bios/seabios.bin') },
    vga_bios: { buffer: await load('/bios/vgabios.bin') },
    ...(linux ? await kernel() : { boot_order: 0x132 }), // hard disk first
    memory_size: (linux ? 128 : 32) * 1024 * 1024,
    autostart: false,
  });
  const device = await attachVirtioBlk(emulator, disk);
  const serial = new SerialConsole((text) => emulator.serial0_send(text));
  emulator.add_listener('serial0-output-byte', (byte) => serial.receive(Uint8Array.of(byte)));
  const prompt = async (from: number): Promise<string> =>
    (await serial.waitFor(PROMPT, { from, signal: AbortSignal.timeout(LIMIT_MS) }))[0];
  globalThis.rig = {
    disk,
    device,
    serial,
    events,
    worker,
    type: (keys) => {
      const from = serial.position;
      serial.send(keys);
      return prompt(from);
    },
    end: async () => {
      await emulator.stop();
      await device.detach();
      await emulator.destroy();
      await disk.close();
    },
  };
  await emulator.run();
  return prompt(0);
}

async function load(url: string): Promise<ArrayBuffer> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.arrayBuffer();
}

async function kernel(): Promise<object> {
  const [bzimage, initrd, cmdline] = await Promise.all(
    ['vmlinux.bin', 'initrd.gz', 'cmdline.txt'].map((name) => load(`/guest/${name}`)),
  );
  return {
    bzimage: { buffer: bzimage },
    initrd: { buffer: initrd },
    cmdline: new TextDecoder().decode(cmdline).trim(),
  };
}
