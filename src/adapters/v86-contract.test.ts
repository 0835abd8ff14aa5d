// v86 promises nothing of what the adapter touches. This pins the version it was written against,
// and holds every internal to the shape that is expected of it; no guest runs.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MachineListener, V86Cpu, V86Machine } from './v86-machine.ts';
import { machineOf } from './v86-machine.ts';
import { plugVirtioBlk } from './v86-pci.ts';
import { sharedMemoryV86, whyUnshared } from './v86-shared-memory.ts';
import { patchImportedMemory, patchMemorySection } from './wasm-memory-patch.ts';

const require = createRequire(import.meta.url);
const BUILD = dirname(require.resolve('v86'));
const RAM = 16 * 1024 * 1024;

interface Main {
  readonly cpu: V86Cpu & { device_raise_irq(line: number): void };
  yield(ms: number, tick: number): void;
}
const mainOf = (emulator: V86): Main => (emulator as unknown as { v86: Main }).v86;

it('is the version that was read', async () => {
  const { version } = JSON.parse(await readFile(join(BUILD, '../package.json'), 'utf8')) as {
    version: string;
  };
  expect(version).toBe('0.5.462+g5f9a90f');
});

describe('the internals of a loaded machine', () => {
  let emulator: V86;
  let machine: V86Machine;
  beforeAll(async () => {
    emulator = new V86({
      wasm_path: join(BUILD, 'v86.wasm'),
      memory_size: RAM,
      autostart: false,
    });
    machine = await machineOf(emulator);
  });
  afterAll(() => emulator.destroy());

  it('are all there, and one machine stands for one emulator', async () => {
    expect(await machineOf(emulator)).toBe(machine);
    expect(emulator.is_running()).toBe(false);
    expect(machine.shared).toBe(false);
    expect(whyUnshared(machine.memory)).toBeUndefined();
    const before = machine.now();
    expect(machine.now()).toBeGreaterThanOrEqual(before);
  });

  it('has guest RAM where mem8 says, before and after the memory grows', () => {
    const { cpu } = machine;
    expect(machine.ramBytes).toBe(RAM);
    machine.ram[0x12345] = 0xa5;
    expect(cpu.mem8[0x12345]).toBe(0xa5);
    const scratch = machine.reserve(65536);
    expect(scratch).toBeGreaterThanOrEqual(machine.ramBase + machine.ramBytes);
    expect(machine.ram[0x12345]).toBe(0xa5);
    machine.ram[0x12346] = 0x5a;
    expect(cpu.mem8[0x12346]).toBe(0x5a);
    expect(machine.ramHalves[0x12346 >> 1]! & 0xff).toBe(0x5a);
    cpu.jit_dirty_cache(0x12345, 0x12347);
  });

  it('routes ports of every width to a function, moves its BAR, and takes it off again', () => {
    const { io, devices } = machine.cpu;
    const { pci } = devices;
    const calls: (string | number)[][] = [];
    const registers = {
      read: (offset: number, width: number): number => {
        calls.push(['read', offset, width]);
        return width === 4 ? 0xfedcba98 : 0x98;
      },
      write: (offset: number, width: number, value: number): void => {
        calls.push(['write', offset, width, value]);
      },
    };
    const { ports } = io as unknown as { ports: Record<string, (value?: number) => number>[] };
    const first = plugVirtioBlk(machine, registers);
    const second = plugVirtioBlk(machine, registers);
    expect([first.slot, second.slot]).toEqual([8, 9]);
    expect(() => plugVirtioBlk(machine, registers, { slot: 8 })).toThrow(/slot 8/);
    expect(() => plugVirtioBlk(machine, registers, { port: 0xd100 })).toThrow(/port 53504/);
    ports[0xd114]!['write8']!(0x101);
    ports[0xd116]!['write16']!(0x12345);
    ports[0xd100]!['write32']!(-1);
    expect(ports[0xd104]!['read32']!()).toBe(0xfedcba98 | 0);
    expect(ports[0xd1ff]!['read8']!()).toBe(0x98);
    expect(calls).toEqual([
      ['write', 0x14, 1, 1],
      ['write', 0x16, 2, 0x2345],
      ['write', 0, 4, 0xffffffff],
      ['read', 4, 4],
      ['read', 0xff, 1],
    ]);

    // As firmware does, through the configuration ports: BAR 0 of slot 8 goes to 0xc000.
    const config = pci as unknown as { pci_write32(address: number, value: number): void };
    config.pci_write32((first.pciId << 8) | 0x10, 0xc000);
    expect(pci.device_spaces[first.pciId]![4]).toBe(0xc001);
    ports[0xc014]!['write8']!(7);
    expect(calls.at(-1)).toEqual(['write', 0x14, 1, 7]);
    first.unplug();
    second.unplug();
    calls.length = 0;
    for (const port of [0xc014, 0xd114, 0xd214]) ports[port]!['write8']!(1);
    expect(calls).toEqual([]);
    expect(pci.devices[first.pciId]).toBeUndefined();
  });

  it('drives INTA as a level that our functions share', () => {
    const { pci } = machine.cpu.devices;
    const registers = { read: () => 0, write: () => {} };
    const a = plugVirtioBlk(machine, registers, { slot: 8 });
    const b = plugVirtioBlk(machine, registers, { slot: 16, port: 0xe000 });
    const lines: string[] = [];
    const raise = pci.raise_irq.bind(pci);
    const lower = pci.lower_irq.bind(pci);
    pci.raise_irq = (id): void => void (lines.push(`+${id >> 3}`), raise(id));
    pci.lower_irq = (id): void => void (lines.push(`-${id >> 3}`), lower(id));
    machine.setIrq(a.pciId, true);
    machine.setIrq(b.pciId, true);
    machine.setIrq(a.pciId, false);
    machine.setIrq(b.pciId, false);
    expect(lines).toEqual(['+8', '+16', '-8', '+16', '-16']);
    pci.raise_irq = raise;
    pci.lower_irq = lower;
    a.unplug();
    b.unplug();
  });

  it('is hooked while somebody listens, in the places that v86 itself goes through', () => {
    const { cpu } = machine;
    const main = mainOf(emulator);
    const heard: string[] = [];
    const listener: MachineListener = {
      onPause: (halted) => void heard.push(`pause ${halted}`),
      onYield: (ms) => void heard.push(`yield ${ms}`),
      onReboot: () => void heard.push('reboot'),
    };
    machine.listen(listener);
    cpu.in_hlt[0] = 1;
    expect(cpu.run_hardware_timers(0, machine.now())).toEqual(expect.any(Number));
    cpu.in_hlt[0] = 0;
    emulator.restart();
    main.yield(3, -1);
    expect(heard).toEqual(['pause true', 'reboot', 'yield 3']);
    machine.unlisten(listener);
    for (const name of ['run_hardware_timers', 'reboot_internal']) {
      expect(Object.hasOwn(cpu, name)).toBe(false);
    }
    expect(Object.hasOwn(main, 'yield')).toBe(false);
  });

  it('names what is missing in an emulator that is not v86', async () => {
    const stranger = {
      v86: { cpu: { devices: { pci: {} }, io: {}, mem8: {}, in_hlt: [] } },
      add_listener: (): void => {},
      is_running: (): boolean => false,
    };
    await expect(machineOf(stranger)).rejects.toThrow(/v86\.yield, .*cpu\.jit_dirty_cache/);
  });
});

describe('shared memory', () => {
  it('runs v86 on it: the wasm defines one plain memory, and so it is shared', async () => {
    const shared = sharedMemoryV86({ wasm: await readFile(join(BUILD, 'v86.wasm')) });
    const emulator = new V86({ ...shared, memory_size: RAM, autostart: false });
    const machine = await machineOf(emulator);
    expect(shared.sharedMemoryStats).toMatchObject({ shared: true, jitFailures: 0 });
    expect(machine.shared).toBe(true);
    const { ram } = machine;
    machine.reserve(65536);
    ram[77] = 1; // a view of shared memory stays good
    expect(machine.cpu.mem8[77]).toBe(1);
    await emulator.destroy();
  });

  it('falls back to v86 as it is where a patch does not fit, and says why', async () => {
    const bytes = await readFile(join(BUILD, 'v86.wasm'));
    const shared = sharedMemoryV86({ wasm: bytes, maxPages: 10 });
    const emulator = new V86({ ...shared, memory_size: RAM, autostart: false });
    const machine = await machineOf(emulator);
    expect(machine.shared).toBe(false);
    expect(whyUnshared(machine.memory)).toMatch(/maxPages 10/);
    await emulator.destroy();
  });

  it('refuses modules of another shape', () => {
    const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
    const module = (...body: number[]): Uint8Array => Uint8Array.from([...header, ...body]);
    expect(() => patchMemorySection(Uint8Array.of(1, 2, 3), 100)).toThrow(/magic/);
    expect(() => patchMemorySection(module(1, 1, 0), 100)).toThrow(/no section 5/);
    expect(() => patchMemorySection(module(5, 9, 1), 100)).toThrow(/cut off/);
    expect(() => patchMemorySection(module(5, 4, 1, 1, 1, 2), 100)).toThrow(/plain memory/);
    expect(() => patchMemorySection(module(5, 3, 1, 0, 101), 100)).toThrow(/maxPages 100/);
    expect(() => patchMemorySection(module(5, 0x80, 0x80, 0x80, 0x80, 0x80), 1)).toThrow(/number/);
    expect(() => patchImportedMemory(module(2, 5, 1, 0, 0, 3, 0), 100)).toThrow(/import/);
    const good = patchMemorySection(module(5, 3, 1, 0, 1, 11, 0), 16384);
    expect([...good.subarray(8)]).toEqual([5, 6, 1, 3, 1, 0x80, 0x80, 1, 11, 0]);
    const jit = patchImportedMemory(module(2, 8, 1, 1, 0x65, 1, 0x6d, 2, 0, 64, 3, 0), 300);
    expect([...jit.subarray(8)]).toEqual([2, 10, 1, 1, 0x65, 1, 0x6d, 2, 3, 64, 0xac, 2, 3, 0]);
  });
});
