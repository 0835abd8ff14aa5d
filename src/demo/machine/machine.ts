// One v86 with our disk in it. Loads the emulator lazily, puts virtio-blk on its bus, carries the
// serial line. Whoever made it ends it.

import type { V86, V86Options } from 'v86';
import { attachVirtioBlk, sharedMemoryV86 } from '../../adapters/v86.ts';
import type { SharedMemoryStats, V86Device } from '../../adapters/v86.ts';
import type { Disk } from '../../index.ts';
import type { KernelFiles } from '../boot/boot-plan.ts';
import { fetchBytes } from '../boot/fetch-files.ts';
import { after } from '../page-clock.ts';
import { SerialConsole } from './serial-console.ts';
import type { TransportKind } from './transport-choice.ts';

export interface MachineOptions {
  readonly transport: TransportKind;
  readonly memoryBytes: number;
  readonly kernel: KernelFiles | undefined;
  /** URL of the folder with SeaBIOS, with a slash at its end. */
  readonly firmware: string;
  /** Where the VGA screen is drawn. */
  readonly screen: HTMLElement;
  /** What the guest says on its serial line, many times a second at most. */
  readonly onSerial: (bytes: Uint8Array) => void;
  readonly signal: AbortSignal;
}

/** How long serial output is gathered, milliseconds: about one frame. */
const SERIAL_MS = 16;

/** A CMOS value, the lowest digit first; SeaBIOS spends half a minute on an empty CD drive. */
const HARD_DISK_FIRST = 0x132;

export class Machine {
  readonly emulator: V86;
  readonly attachment: V86Device;
  readonly serial: SerialConsole;
  /** How v86 was put on shared memory; undefined where it was not asked for. */
  readonly sharedMemory: SharedMemoryStats | undefined;
  readonly #onSerial: (bytes: Uint8Array) => void;
  #ended: Promise<void> | undefined;

  /** Makes a machine that does not run yet. Throws BlockError. */
  static async create(disk: Disk, options: MachineOptions): Promise<Machine> {
    const { signal } = options;
    const [{ V86: Emulator }, { default: wasmUrl }, bios, vgaBios] = await Promise.all([
      import('v86'),
      import('v86/build/v86.wasm?url'),
      fetchBytes(`${options.firmware}seabios.bin`, { signal }),
      fetchBytes(`${options.firmware}vgabios.bin`, { signal }),
    ]);
    const shared =
      options.transport === 'zero-copy'
        ? sharedMemoryV86({ wasm: fetch(wasmUrl, { signal }) })
        : undefined;
    const emulator = new Emulator({
      ...(shared === undefined ? { wasm_path: wasmUrl } : { wasm_fn: shared.wasm_fn }),
      bios: { buffer: bios },
      vga_bios: { buffer: vgaBios },
      ...bootOptions(options.kernel),
      memory_size: options.memoryBytes,
      autostart: false,
      disable_speaker: true,
      disable_mouse: true,
      screen: { container: options.screen },
    });
    // It listens on the whole page, which a page with buttons cannot have; VgaScreen turns it on.
    emulator.keyboard_set_enabled(false);
    try {
      const attachment = await attachVirtioBlk(emulator, disk, {
        transport: options.transport === 'bounce' ? 'bounce' : 'auto',
      });
      signal.throwIfAborted();
      return new Machine(emulator, attachment, shared?.sharedMemoryStats, options.onSerial);
    } catch (error) {
      await emulator.destroy();
      throw error;
    }
  }

  private constructor(
    emulator: V86,
    attachment: V86Device,
    sharedMemory: SharedMemoryStats | undefined,
    onSerial: (bytes: Uint8Array) => void,
  ) {
    this.emulator = emulator;
    this.attachment = attachment;
    this.sharedMemory = sharedMemory;
    this.#onSerial = onSerial;
    this.serial = new SerialConsole((text) => emulator.serial0_send(text));
    let gathered: number[] = [];
    emulator.add_listener('serial0-output-byte', (byte) => {
      if (gathered.length === 0) {
        after(SERIAL_MS, () => {
          const bytes = Uint8Array.from(gathered);
          gathered = [];
          this.serial.receive(bytes);
          onSerial(bytes);
        });
      }
      gathered.push(byte);
    });
  }

  async run(): Promise<void> {
    await this.emulator.run();
  }

  /** Puts a saved state back into a machine that has not run yet. Throws BlockError, see V86Device. */
  async restore(state: ArrayBuffer, device: Parameters<V86Device['restore']>[0]): Promise<void> {
    await this.emulator.restore_state(state);
    await this.attachment.restore(device);
  }

  /** Says on the serial line's side of this page what a guest had said before. */
  replay(text: string): void {
    const bytes = new TextEncoder().encode(text.replaceAll('\n', '\r\n'));
    this.serial.receive(bytes);
    this.#onSerial(bytes);
  }

  /** The guest stands still until `run`. */
  async pause(): Promise<void> {
    await this.emulator.stop();
  }

  /** Takes the disk out and ends the emulator, as a power cut does. Idempotent. */
  end(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<void> {
    await this.emulator.stop();
    try {
      await this.attachment.detach();
    } finally {
      await this.emulator.destroy();
    }
  }
}

function bootOptions(kernel: KernelFiles | undefined): V86Options {
  if (kernel === undefined) return { boot_order: HARD_DISK_FIRST };
  return {
    bzimage: { buffer: kernel.image },
    initrd: { buffer: kernel.initrd },
    cmdline: kernel.cmdline,
  };
}
