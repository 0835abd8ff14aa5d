// The whole way on a real v86 without a guest: a driver of ours plays it, through the emulator's own
// ports and RAM, against a disk that a real IOThread serves. Both transports.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Disk } from '../disk.ts';
import type { NodeHost } from '../host/node.ts';
import { nodeTestHost } from '../testing/node-iothread.ts';
import { Prng } from '../testing/prng.ts';
import { DriverQueue } from '../virtio/driver-queue.ts';
import { attachVirtioBlk, sharedMemoryV86 } from './v86.ts';
import type { V86Device } from './v86.ts';
import { machineOf } from './v86-machine.ts';
import type { V86Machine } from './v86-machine.ts';

const V86_WASM = join(dirname(createRequire(import.meta.url).resolve('v86')), 'v86.wasm');
const MIB = 1 << 20;
const DATA = 4 * MIB;
const RINGS = 2 * MIB;
const IN = 0;
const OUT = 1;
const ISR = 0x40;
const STATUS = 0x14;

type Ports = Record<string, (value?: number) => number>[];

/** A guest driver on one attached device. */
class Guest {
  readonly queue: DriverQueue;
  readonly machine: V86Machine;
  readonly device: V86Device;

  constructor(machine: V86Machine, device: V86Device) {
    this.machine = machine;
    this.device = device;
    const memory = machine.ram;
    const rings = { memory, offset: RINGS, size: 32, maxSegments: 8, eventIdx: true };
    this.queue = new DriverQueue(rings);
  }

  #port(offset: number): Record<string, (value?: number) => number> {
    const { devices, io } = this.machine.cpu;
    const bar = devices.pci.device_spaces[this.device.slot << 3]![4]! & 0xfffe;
    return (io.ports as Ports)[bar + offset]!;
  }
  in8(offset: number): number {
    return this.#port(offset)['read8']!();
  }
  out8(offset: number, value: number): void {
    this.#port(offset)['write8']!(value);
  }
  out16(offset: number, value: number): void {
    this.#port(offset)['write16']!(value);
  }
  out32(offset: number, value: number): void {
    this.#port(offset)['write32']!(value);
  }

  start(): void {
    this.in8(0x80); // capacity
    for (const [select, bits] of [
      [0, 2 ** 28 + 2 ** 29 + 2 ** 9],
      [1, 1],
    ]) {
      this.out32(0x08, select!);
      this.out32(0x0c, bits!);
    }
    this.out8(STATUS, 11);
    const { size, desc, avail, used } = this.queue.config;
    this.out16(0x16, 0);
    this.out16(0x18, size);
    [desc, avail, used].forEach((address, i) => this.out32(0x20 + 8 * i, address));
    this.out16(0x1c, 1);
    this.out8(STATUS, 15);
    expect(this.in8(STATUS)).toBe(15);
  }

  /** Submits, and gives the emulator slices until it is done; answers [cookie, status, written]. */
  async request(type: number, offset: number, address: number, length: number): Promise<number[]> {
    this.queue.submitOne(type, offset, address, length, 1);
    if (this.queue.publish()) this.out16(0x44, 0);
    return this.done();
  }
  async done(): Promise<number[]> {
    const done: number[][] = [];
    await this.until(() => {
      this.queue.reap((...completion) => done.push(completion));
      return done.length > 0;
    });
    return done[0]!;
  }
  async until(condition: () => boolean): Promise<void> {
    for (let slice = 0; !condition(); slice++) {
      if (slice > 50_000) throw new Error(`not in time: ${JSON.stringify(this.device.stats())}`);
      await new Promise((resolve) => setImmediate(resolve));
      this.machine.cpu.run_hardware_timers(0, this.machine.now());
    }
  }
}

describe.each(['zero-copy', 'bounce', 'messages'] as const)('a disk on v86, %s', (transport) => {
  let host: NodeHost;
  let emulator: V86;
  let machine: V86Machine;
  let disk: Disk;
  let guest: Guest;

  beforeAll(async () => (host = await nodeTestHost()));
  async function attach(): Promise<void> {
    const shared = sharedMemoryV86({ wasm: await readFile(V86_WASM) });
    emulator = new V86({
      ...(transport === 'zero-copy' ? shared : { wasm_path: V86_WASM }),
      memory_size: 16 * MIB,
      autostart: false,
    });
    machine = await machineOf(emulator);
    const way = transport === 'messages' ? 'messages' : 'shared';
    const options = { serial: 'v86', transport: way } as const;
    disk = await Disk.open(host, { driver: 'memory', size: 8 * MIB }, options);
    guest = new Guest(machine, await attachVirtioBlk(emulator, disk));
  }
  afterEach(async () => {
    await disk.close();
    await emulator.destroy();
  });

  it('serves reads and writes, interrupts, and survives a reset', async () => {
    await attach();
    const { device } = guest;
    expect(device.transport).toBe(transport);
    const dirtied: number[][] = [];
    const dirty = machine.cpu.jit_dirty_cache.bind(machine.cpu);
    machine.cpu.jit_dirty_cache = (from, to): void =>
      void (dirtied.push([from, to]), dirty(from, to));
    const bytes = new Prng(3).bytes(300_032);
    for (let round = 0; round < 2; round++) {
      guest.start();
      machine.ram.set(bytes, DATA);
      expect(await guest.request(OUT, 4096, DATA, bytes.length)).toEqual([1, 0, 1]);
      machine.ram.fill(0, DATA, DATA + bytes.length);
      expect(await guest.request(IN, 4096, DATA, bytes.length)).toEqual([1, 0, bytes.length + 1]);
      expect(Buffer.compare(machine.ram.subarray(DATA, DATA + bytes.length), bytes)).toBe(0);
      await guest.until(() => guest.in8(ISR) === 1);
      expect(await guest.request(IN, 8 * MIB, DATA, 512)).toEqual([1, 1, 1]); // beyond the end
      guest.out8(STATUS, 0);
      await guest.until(() => guest.in8(STATUS) === 0);
      guest = new Guest(machine, device);
    }
    expect(dirtied.some(([from, to]) => from === DATA && to! > DATA)).toBe(true);
    const read = new Uint8Array(512);
    await disk.read(4096, read);
    expect(read).toEqual(bytes.slice(0, 512));
    const { kicks, interrupts, resets, failure, inFlight } = device.stats();
    expect({ resets, failure, inFlight }).toEqual({ resets: 2, failure: undefined, inFlight: 0 });
    expect(kicks).toBeGreaterThanOrEqual(6);
    expect(interrupts).toBeGreaterThanOrEqual(2);
    if (transport === 'messages') {
      // A busy wait would keep messages from arriving.
      const { notifyPoll, haltPoll } = device.stats();
      const none = { hits: 0, misses: 0, skipped: 0 };
      expect({ notifyPoll, haltPoll }).toEqual({ notifyPoll: none, haltPoll: none });
    }
    await device.detach();
    expect(machine.cpu.devices.pci.devices[device.slot << 3]).toBeUndefined();
  });

  it('saves with nothing in flight, and goes on where it was', async () => {
    await attach();
    guest.start();
    for (let i = 0; i < 40; i++) await guest.request(OUT, 512 * i, DATA, 512);
    guest.queue.submitOne(IN, 0, DATA, 4096, 1);
    if (guest.queue.publish()) guest.out16(0x44, 0);
    const state = structuredClone(await guest.device.save());
    expect((await guest.done())[1]).toBe(0);
    expect(state.disk).toMatchObject({ serial: 'v86', length: 8 * MIB });
    guest.out8(STATUS, 0);
    await guest.until(() => guest.in8(STATUS) === 0);
    await guest.device.restore(state);
    expect(guest.in8(STATUS)).toBe(15);
    expect(await guest.request(IN, 0, DATA, 512)).toEqual([1, 0, 513]);

    // The disk goes on, the state does not.
    expect(await guest.request(OUT, 0, DATA, 512)).toEqual([1, 0, 1]);
    await guest.until(() => guest.in8(ISR) === 1);
    const refused = expect(guest.device.restore(state)).rejects;
    await refused.toMatchObject({
      code: 'ESTALE',
      message: expect.stringMatching(
        /'v86' of 8388608 bytes, generation (open-\S+); the disk is .* generation open-(?!\1).*written to since.*boot instead.*qcow2/,
      ) as string,
    });
    expect(guest.in8(STATUS)).toBe(15);
    await expect(guest.device.restore({ ...state, version: 2 as 1 })).rejects.toThrow(/version 2/);
  });

  it('tells the guest of a resize, and of an IOThread that died', async () => {
    await attach();
    guest.start();
    await disk.resize(4 * MIB);
    await guest.until(() => guest.in8(ISR) === 2);
    expect(guest.in8(0x81)).toBe(0x20); // 8192 sectors
    disk.thread.terminate();
    await guest.until(() => guest.in8(STATUS) === (15 | 0x40));
    expect(guest.device.stats().failure).toContain('IOThread');
    guest.out8(STATUS, 0);
    expect(guest.in8(STATUS)).toBe(0);
    await expect(guest.device.save()).rejects.toThrow(/gone/);
  });
});
