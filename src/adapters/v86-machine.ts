// Typed access to the internals of an unmodified v86 (0.5.462) that a device needs: ports, PCI,
// interrupts, guest RAM, and the places where the emulator pauses. What is missing or of another
// shape is reported by name, since v86 promises none of it. `v86-contract.test.ts` holds the list.

import { isShared } from '../base/shared-buffer.ts';
import { BlockError } from '../block/block-error.ts';
import { copyGraphics } from './v86-shared-screen.ts';

/** What v86 calls on a port: `this` is the device, the value unsigned except for 32-bit reads. */
type PortRead = (port: number) => number;
type PortWrite = (value: number) => void;

export interface V86PciDevice {
  readonly name: string;
  readonly pci_id: number;
  readonly pci_space: readonly number[];
  readonly pci_bars: readonly { readonly size: number }[];
}

interface V86Io {
  register_read(port: number, device: object, r8: PortRead, r16: PortRead, r32: PortRead): void;
  register_write(port: number, device: object, w8: PortWrite, w16: PortWrite, w32: PortWrite): void;
  readonly ports: unknown[];
  create_empty_entry(): unknown;
}

interface V86Pci {
  /** Configuration space of each function as 64 words, by pci_id. */
  readonly device_spaces: (Int32Array | undefined)[];
  readonly devices: (object | undefined)[];
  register_device(device: V86PciDevice): void;
  raise_irq(pciId: number): void;
  lower_irq(pciId: number): void;
}

export interface V86Cpu {
  readonly wasm_memory: WebAssembly.Memory;
  /** Guest RAM; a Proxy that is slow per access and has few properties. */
  readonly mem8: Uint8Array;
  readonly io: V86Io;
  readonly devices: { readonly pci: V86Pci };
  /** 1 while the CPU waits for an interrupt. */
  readonly in_hlt: Uint8Array;
  /** Drops compiled code of the physical addresses `[from, to)`. */
  jit_dirty_cache(from: number, to: number): void;
  run_hardware_timers(acpi: number, now: number): number;
  reboot_internal(): void;
}

interface V86Main {
  readonly cpu: V86Cpu;
  /** Arranges the next slice after `ms` milliseconds. */
  yield(ms: number, tick: number): void;
  readonly constructor: { readonly microtick: () => number };
}

/** The part of `V86` that callers hand in; v86's own type fits. */
export interface V86Emulator {
  /** Called with 'emulator-loaded', to wait for its machine. */
  add_listener(event: 'emulator-loaded', listener: () => void): void;
  /** A disk is attached before it runs. */
  is_running(): boolean;
}

/** What a device on the machine hears of. */
export interface MachineListener {
  /** The emulator pauses between slices of guest code; `halted`: the CPU waits for an interrupt. */
  onPause(halted: boolean): void;
  /** The emulator goes back to the host for `ms` milliseconds; 0: only for a turn. */
  onYield(ms: number): void;
  /** The machine reboots; the CPU has not started again yet. */
  onReboot(): void;
}

/** What is touched, from the emulator on, and its type. */
const EXPECTED: readonly (readonly [path: string, type: string])[] = [
  ['v86.yield', 'function'],
  ['v86.constructor.microtick', 'function'],
  ['v86.cpu.wasm_memory.grow', 'function'],
  ['v86.cpu.mem8.byteOffset', 'number'],
  ['v86.cpu.mem8.length', 'number'],
  ['v86.cpu.in_hlt.0', 'number'],
  ['v86.cpu.jit_dirty_cache', 'function'],
  ['v86.cpu.run_hardware_timers', 'function'],
  ['v86.cpu.reboot_internal', 'function'],
  ['v86.cpu.io.register_read', 'function'],
  ['v86.cpu.io.register_write', 'function'],
  ['v86.cpu.io.create_empty_entry', 'function'],
  ['v86.cpu.io.ports.65535', 'object'],
  ['v86.cpu.devices.pci.register_device', 'function'],
  ['v86.cpu.devices.pci.raise_irq', 'function'],
  ['v86.cpu.devices.pci.lower_irq', 'function'],
  ['v86.cpu.devices.pci.device_spaces.0', 'object'],
  ['v86.cpu.devices.pci.devices.0', 'object'],
];

/** Throws ENOTSUP when `emulator` is not a v86 of a version that we know. */
function internals(emulator: V86Emulator): V86Main {
  const missing = EXPECTED.filter(([path, type]) => {
    let value: unknown = emulator;
    for (const name of path.split('.')) value = (value as Record<string, unknown> | null)?.[name];
    return typeof value !== type || value === null;
  });
  if (missing.length > 0) {
    const names = missing.map(([path]) => path).join(', ');
    throw new BlockError('ENOTSUP', `this v86 has not the internals needed: ${names}`);
  }
  return (emulator as unknown as { v86: V86Main }).v86;
}

const machines = new WeakMap<V86Emulator, V86Machine>();

/** The machine of `emulator`, once it is loaded. Waits for that if need be. */
export async function machineOf(emulator: V86Emulator): Promise<V86Machine> {
  const known = machines.get(emulator);
  if (known !== undefined) return known;
  const loaded = (emulator as { v86?: { cpu: { devices: { pci?: unknown } } } }).v86;
  if (loaded?.cpu.devices.pci === undefined) {
    await new Promise<void>((resolve) => emulator.add_listener('emulator-loaded', resolve));
  }
  let machine = machines.get(emulator);
  if (machine === undefined) {
    machine = new V86Machine(emulator);
    machines.set(emulator, machine);
  }
  return machine;
}

/** One emulator. Its hooks are in place while somebody listens. */
export class V86Machine {
  readonly cpu: V86Cpu;
  /** Where guest RAM starts in the emulator's memory, and its length; bytes. */
  readonly ramBase: number;
  readonly ramBytes: number;
  readonly #main: V86Main;
  readonly #listeners: MachineListener[] = [];
  readonly #raised = new Set<number>();
  #bytes: Uint8Array = new Uint8Array(0);
  #halves: Uint16Array = new Uint16Array(0);

  constructor(emulator: V86Emulator) {
    this.#main = internals(emulator);
    this.cpu = this.#main.cpu;
    this.ramBase = this.cpu.mem8.byteOffset;
    this.ramBytes = this.cpu.mem8.length;
    if (this.shared) copyGraphics(this.cpu);
  }

  /** Milliseconds, monotonic: the emulator's own clock. */
  now(): number {
    return this.#main.constructor.microtick();
  }

  get memory(): WebAssembly.Memory {
    return this.cpu.wasm_memory;
  }
  /** True when other threads can see guest RAM. */
  get shared(): boolean {
    return isShared(this.memory.buffer);
  }

  /** Guest RAM. Use at once: memory that is not shared moves when it grows. */
  get ram(): Uint8Array {
    if (this.#bytes.length === 0) this.#derive();
    return this.#bytes;
  }
  /** Guest RAM as 16-bit words. */
  get ramHalves(): Uint16Array {
    if (this.#halves.length === 0) this.#derive();
    return this.#halves;
  }
  #derive(): void {
    const { buffer } = this.memory;
    this.#bytes = new Uint8Array(buffer, this.ramBase, this.ramBytes);
    this.#halves = new Uint16Array(buffer, this.ramBase, this.ramBytes >> 1);
  }

  /**
   * Grows the emulator's memory by `bytes` (whole pages) and answers where they are: behind all
   * that the guest can address, and never given out by the emulator's own allocator.
   */
  reserve(bytes: number): number {
    const pages = Math.ceil(bytes / 65536);
    try {
      return this.memory.grow(pages) * 65536;
    } catch (cause) {
      const message = `the emulator's memory cannot grow by ${pages} pages: raise maxPages`;
      throw new BlockError('ENOMEM', message, { cause });
    }
  }

  listen(listener: MachineListener): void {
    if (this.#listeners.length === 0) this.#hook();
    this.#listeners.push(listener);
  }
  unlisten(listener: MachineListener): void {
    const at = this.#listeners.indexOf(listener);
    if (at < 0) return;
    this.#listeners.splice(at, 1);
    if (this.#listeners.length === 0) this.#unhook();
  }

  /**
   * Own properties over the prototype's methods. `run_hardware_timers` runs between slices of
   * guest code and right before interrupts are looked at: an interrupt raised there is taken in
   * the same slice. `yield` runs when the emulator goes back to the host.
   */
  #hook(): void {
    const { cpu } = this;
    const main = this.#main;
    const timers = cpu.run_hardware_timers.bind(cpu);
    const reboot = cpu.reboot_internal.bind(cpu);
    const yields = main.yield.bind(main);
    cpu.run_hardware_timers = (acpi, now): number => {
      const halted = cpu.in_hlt[0] !== 0;
      for (const listener of this.#listeners) listener.onPause(halted);
      return timers(acpi, now);
    };
    cpu.reboot_internal = (): void => {
      for (const listener of this.#listeners) listener.onReboot();
      reboot();
    };
    main.yield = (ms, tick): void => {
      for (const listener of this.#listeners) listener.onYield(ms);
      yields(ms, tick);
    };
  }
  #unhook(): void {
    for (const name of ['run_hardware_timers', 'reboot_internal']) {
      Reflect.deleteProperty(this.cpu, name);
    }
    Reflect.deleteProperty(this.#main, 'yield');
  }

  /** The ISA interrupt that function `pciId`'s INTA is routed to. */
  #line(pciId: number): number {
    return ((pciId >> 3) - 1) & 3;
  }

  /** Drives INTA of function `pciId`. Our devices share a line as PCI functions do. */
  setIrq(pciId: number, up: boolean): void {
    const { pci } = this.cpu.devices;
    if (up) {
      this.#raised.add(pciId);
      pci.raise_irq(pciId);
      return;
    }
    this.#raised.delete(pciId);
    pci.lower_irq(pciId);
    for (const other of this.#raised) {
      if (this.#line(other) === this.#line(pciId)) pci.raise_irq(other);
    }
  }
}
