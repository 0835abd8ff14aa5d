import { beforeEach, describe, expect, it } from 'vitest';
import { Prng } from '../testing/prng.ts';
import { DriverQueue } from '../virtio/driver-queue.ts';
import { GuestBuffers } from './guest-buffers.ts';

const RAM = 1 << 18;
const DESC = 0x1000;
const AVAIL = 0x2000;
const USED = 0x3000;
const SIZE = 8;

describe('GuestBuffers', () => {
  let ram: Uint8Array;
  let view: DataView;
  let found: number[][];
  let buffers: GuestBuffers;

  beforeEach(() => {
    ram = new Uint8Array(new SharedArrayBuffer(RAM));
    view = new DataView(ram.buffer);
    found = [];
    const rings = { desc: DESC, avail: AVAIL, used: USED, lastAvail: 0, usedIdx: 0 };
    const setup = { size: SIZE, ...rings };
    buffers = new GuestBuffers(ram, setup, false, (...range) => found.push(range));
  });

  function describeBuffer(
    at: number,
    address: number,
    length: number,
    flags: number,
    next = 0,
  ): void {
    view.setUint32(at, address, true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, flags, true);
    view.setUint16(at + 14, next, true);
  }
  function offer(...heads: number[]): void {
    const idx = view.getUint16(AVAIL + 2, true);
    heads.forEach((head, i) => view.setUint16(AVAIL + 4 + 2 * ((idx + i) % SIZE), head, true));
    view.setUint16(AVAIL + 2, idx + heads.length, true);
  }

  it('reports what the device may write, of new chains only', () => {
    describeBuffer(DESC, 0x5000, 16, 1, 3);
    describeBuffer(DESC + 48, 0x6000, 512, 3, 5);
    describeBuffer(DESC + 80, 0x7000, 1, 2);
    offer(0);
    buffers.scan();
    buffers.scan();
    expect(found).toEqual([
      [0x6000, 0x6200],
      [0x7000, 0x7001],
    ]);
    expect(buffers.chains).toBe(1);
    expect(buffers.inFlight).toBe(1);
    view.setUint16(USED + 2, 1, true);
    expect(buffers.inFlight).toBe(0);
    offer(0);
    view.setUint16(USED + 2, 2, true); // completed before it was seen
    expect(buffers.inFlight).toBe(0);
    buffers.scan();
    expect(found.length).toBe(4);
  });

  it('expects the interrupt for what the device has used a moment before it', () => {
    describeBuffer(DESC, 0x5000, 512, 2);
    expect(buffers.expecting).toBe(false);
    offer(0);
    buffers.scan();
    expect(buffers.expecting).toBe(true);
    view.setUint16(USED + 2, 1, true);
    expect([buffers.inFlight, buffers.expecting]).toEqual([0, true]);
    view.setUint16(AVAIL, 1, true); // VIRTQ_AVAIL_F_NO_INTERRUPT
    expect(buffers.expecting).toBe(false);
    view.setUint16(AVAIL, 0, true);
    buffers.signalled();
    expect(buffers.expecting).toBe(false);
  });

  it('with event indices expects no interrupt that the driver has not asked for', () => {
    const rings = { desc: DESC, avail: AVAIL, used: USED, lastAvail: 0xffff, usedIdx: 0xffff };
    view.setUint16(AVAIL + 2, 0xffff, true);
    view.setUint16(USED + 2, 0xffff, true);
    buffers = new GuestBuffers(ram, { size: SIZE, ...rings }, true, () => {});
    const usedEvent = (value: number): void => view.setUint16(AVAIL + 4 + 2 * SIZE, value, true);
    describeBuffer(DESC, 0x5000, 512, 2);
    usedEvent(0xffff);
    offer(0, 0);
    buffers.scan();
    expect([buffers.inFlight, buffers.expecting]).toEqual([2, true]);
    view.setUint16(USED + 2, 1, true); // both, across the wrap
    expect([buffers.inFlight, buffers.expecting]).toEqual([0, true]);
    usedEvent(1); // the driver has taken them by itself
    expect(buffers.expecting).toBe(false);
    usedEvent(0xffff);
    buffers.signalled();
    expect(buffers.expecting).toBe(false);
  });

  it('follows the tables of a real driver, across the wrap of the index', () => {
    const guest = new DriverQueue({
      memory: ram,
      offset: 0x8000,
      size: 16,
      maxSegments: 4,
      eventIdx: false,
    });
    const { desc, avail, used, size } = guest.config;
    const setup = { size, desc, avail, used, lastAvail: 0, usedIdx: 0 };
    buffers = new GuestBuffers(ram, setup, false, (...range) => found.push(range));
    let usedIdx = 0;
    for (let i = 0; i < 70_000; i++) {
      const slot = guest.submitOne(0, 512, 0x20000, 4096, i);
      guest.publish();
      buffers.scan();
      view.setUint32(used + 4 + 8 * (usedIdx % size), slot, true);
      view.setUint16(used + 2, ++usedIdx, true);
      guest.reap(() => {});
      if (i > 0 && found.length !== 2) throw new Error(`${found.length} buffers at ${i}`);
      if (i < 69_999) found.length = 0;
    }
    expect(found[0]).toEqual([0x20000, 0x21000]);
    expect(buffers.chains).toBe(70_000);
  });

  it('ends, inside guest memory, whatever the rings hold', () => {
    const seed = 86;
    const prng = new Prng(seed);
    for (let round = 0; round < 3000; round++) {
      ram.set(prng.bytes(16 * SIZE), DESC);
      for (let i = 0; i < SIZE; i++) {
        const near = prng.below(RAM + 32);
        if (prng.chance(80)) describeBuffer(DESC + 16 * i, near, prng.below(600), prng.below(8), i);
        if (prng.chance(80)) view.setUint32(DESC + 16 * i + 4, 0, true);
        view.setUint16(DESC + 16 * i + 14, prng.below(SIZE + 1), true);
      }
      ram.set(prng.bytes(4 + 2 * SIZE), AVAIL);
      if (prng.chance(50))
        for (let i = 0; i < SIZE; i++) view.setUint16(AVAIL + 4 + 2 * i, i, true);
      buffers.scan();
      expect(buffers.inFlight).toBeLessThanOrEqual(SIZE);
    }
    expect(found.length, `seed ${seed}`).toBeGreaterThan(1000);
    for (const [from, to] of found) {
      if (!(from! < to! && to! <= RAM)) throw new Error(`seed ${seed}: ${from} to ${to}`);
    }
  });
});
