// One v86 with Linux in it, booted to a shell in its RAM disk, and a disk that it has not mounted: by
// virtio-blk from us, or by v86's own IDE. Stands still except while it is measured.

import type { V86, V86Options } from 'v86';
import { attachVirtioBlk, sharedMemoryV86 } from '../../adapters/v86.ts';
import type { V86Device } from '../../adapters/v86.ts';
import type { Disk } from '../../index.ts';
import { fetchBytes, fetchJson } from '../boot/fetch-files.ts';
import { SerialConsole } from '../machine/serial-console.ts';
import { CAN, ETX, guestProgram, STX } from './guest-program.ts';

/** The disk that the guest gets. */
export type GuestDisk =
  | { readonly transport: 'zero-copy' | 'bounce'; readonly disk: Disk }
  | { readonly transport: 'ide'; readonly hda: NonNullable<V86Options['hda']> };

/** The folders of the guest and of SeaBIOS, with slashes at their ends. */
export interface GuestFiles {
  readonly guest: string;
  readonly firmware: string;
}

/** Where the guest finds our program. */
export const PROGRAM = '/randread';
const BOOT_MS = 180_000;
const COMMAND_MS = 120_000;

export class LinuxGuest {
  /** The device under test, of the guest's names. */
  readonly device: '/dev/vda' | '/dev/sda';
  /** Ours; undefined for v86's own. */
  readonly attachment: V86Device | undefined;
  readonly #emulator: V86;
  readonly #serial: SerialConsole;
  #started = NaN;
  #ended: ((ns: number) => void) | undefined;

  /** Boots, installs PROGRAM, and stands still. */
  static async start(files: GuestFiles, disk: GuestDisk): Promise<LinuxGuest> {
    const [{ V86: Emulator }, { default: wasmUrl }, options] = await Promise.all([
      import('v86'),
      import('v86/build/v86.wasm?url'),
      bootOptions(files),
    ]);
    const shared =
      disk.transport === 'zero-copy' ? sharedMemoryV86({ wasm: fetch(wasmUrl) }) : undefined;
    const emulator = new Emulator({
      ...options,
      ...(shared === undefined ? { wasm_path: wasmUrl } : { wasm_fn: shared.wasm_fn }),
      ...(disk.transport === 'ide' ? { hda: disk.hda } : {}),
    });
    const loaded = new Promise<void>((resolve) => {
      emulator.add_listener('emulator-loaded', resolve);
    });
    try {
      const attachment =
        disk.transport === 'ide'
          ? undefined
          : await attachVirtioBlk(emulator, disk.disk, { transport: disk.transport });
      await loaded;
      const guest = new LinuxGuest(emulator, attachment);
      await guest.#boot();
      return guest;
    } catch (error) {
      await emulator.destroy();
      throw error;
    }
  }

  private constructor(emulator: V86, attachment: V86Device | undefined) {
    this.#emulator = emulator;
    this.attachment = attachment;
    this.device = attachment === undefined ? '/dev/sda' : '/dev/vda';
    this.#serial = new SerialConsole((text) => emulator.serial0_send(text));
    emulator.add_listener('serial0-output-byte', (byte) => this.#hear(byte));
  }

  /** Runs a command that says STX and ETX; answers how long it took from one to the other, ns. */
  async time(command: string): Promise<number> {
    await this.#emulator.run();
    const timed = new Promise<number>((resolve) => (this.#ended = resolve));
    await this.#serial.run(`${command}; echo`, AbortSignal.timeout(COMMAND_MS));
    await this.#emulator.stop();
    return Promise.race([timed, Promise.resolve(NaN)]).then((ns) => {
      if (ns > 0) return ns;
      throw new Error(`${command}: the guest says ${this.#serial.text.slice(-200)}`);
    });
  }

  /** Takes the disk out and ends the emulator. The disk is the caller's to close. */
  async end(): Promise<void> {
    await this.#emulator.stop();
    await this.attachment?.detach();
    await this.#emulator.destroy();
  }

  async #boot(): Promise<void> {
    const ready = this.#serial.waitFor(/GUEST-READY root=none.*\n(?:.*\n)*guest# $/, {
      from: 0,
      signal: AbortSignal.timeout(BOOT_MS),
    });
    await this.#emulator.run();
    await ready;
    const base64 = btoa(String.fromCharCode(...guestProgram()));
    const install = `echo ${base64} | base64 -d > ${PROGRAM}; chmod +x ${PROGRAM}`;
    await this.#serial.run(`${install}; ls ${this.device}`, AbortSignal.timeout(COMMAND_MS));
    await this.#emulator.stop();
  }

  #hear(byte: number): void {
    if (byte === STX) this.#started = performance.now();
    if (byte === ETX) this.#ended?.((performance.now() - this.#started) * 1e6);
    if (byte === CAN) this.#ended?.(NaN);
    this.#serial.receive(Uint8Array.of(byte));
  }
}

/** Everything but the disk. Kernel and RAM disk are fetched anew each time: they are in the cache. */
async function bootOptions({ guest, firmware }: GuestFiles): Promise<V86Options> {
  const signal = AbortSignal.timeout(BOOT_MS);
  const manifest = (await fetchJson(`${guest}guest.json`, signal)) as {
    readonly memoryMiB: number;
    readonly cmdline: string;
  };
  const [bios, vgaBios, kernel, initrd] = await Promise.all([
    fetchBytes(`${firmware}seabios.bin`, { signal }),
    fetchBytes(`${firmware}vgabios.bin`, { signal }),
    fetchBytes(`${guest}vmlinux.bin`, { signal }),
    fetchBytes(`${guest}initrd.gz`, { signal }),
  ]);
  return {
    bios: { buffer: bios },
    vga_bios: { buffer: vgaBios },
    bzimage: { buffer: kernel },
    initrd: { buffer: initrd },
    // Without root= the RAM disk gives a shell and mounts nothing.
    cmdline: manifest.cmdline.replace(/\broot=\S+( rw)?/, ''),
    memory_size: manifest.memoryMiB * 1024 * 1024,
    autostart: false,
    disable_speaker: true,
    disable_keyboard: true,
    disable_mouse: true,
  };
}
