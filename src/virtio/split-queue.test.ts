// What chains mean and how they are taken, on both split queues in step.

import { describe, expect, it, vi } from 'vitest';
import { compareRequest, modelChain } from '../testing/chain-model.ts';
import { GUEST_HEADER, GUEST_RAM, GUEST_TABLE, TwinGuest } from '../testing/twin-guest.ts';
import { SplitQueue } from './split-queue.ts';
import * as vq from './virtqueue.ts';

const N = 1;
const W = 2;
const I = 4;

describe('requests', () => {
  /** [readable lengths, writable lengths], laid end to end so that all touch, or apart. */
  const layouts: readonly (readonly [readonly number[], readonly number[]])[] = [
    [[16, 512], [1]],
    [[528], [1]],
    [[16], [513]],
    [[16], [512, 1]],
    [[1, 15, 512], [1]],
    [[3, 5, 7, 513], [1]],
    [
      [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
      [4, 4],
    ],
    [
      [10, 10, 10],
      [10, 1],
    ],
  ];
  it.each([true, false])('finds header, data and status in every layout, touching: %s', (touch) => {
    for (const [readable, writable] of layouts) {
      const guest = new TwinGuest(32);
      let address = GUEST_HEADER + 1;
      const lengths = [...readable, ...writable];
      lengths.forEach((length, i) => {
        const flags = (i < readable.length ? 0 : W) | (i < lengths.length - 1 ? N : 0);
        guest.ring.descriptor(i, { address, length, flags, next: i + 1 });
        address += length + (touch ? 0 : 5);
      });
      for (let i = GUEST_HEADER; i < address; i++) guest.twins.ram[i] = i * 13;
      guest.offer(1);
      expect(guest.twins.pop(8)).toBe(1);
      const model = modelChain(guest.twins.ram, guest.config, 0);
      if (typeof model === 'number') throw new Error(vq.VQ_ERRORS[model]);
      expect(compareRequest(guest.twins.ts, 0, model)).toBe('');
      expect(compareRequest(guest.twins.wasm, 0, model)).toBe('');
      expect(guest.twins.ts.requests[vq.REQ_OUT_COUNT]! <= 1 || !touch).toBe(true);
    }
  });

  it('reads each word once: what changes afterwards changes nothing', () => {
    const guest = new TwinGuest(4);
    guest.format();
    guest.offer(4);
    const model = modelChain(guest.twins.ram, guest.config, 3);
    const queue = new SplitQueue({ region: guest.twins.ram, config: guest.config });
    // Descriptors of their own, so that the fourth chain is not reached over destroyed bytes.
    for (let i = 0; i < 3; i++) guest.ring.setAvailEntry(i, 3);
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const read = DataView.prototype.getUint32;
    const reads: number[] = [];
    const spy = vi.spyOn(DataView.prototype, 'getUint32').mockImplementation(function (
      this: DataView,
      at: number,
    ) {
      const value = read.call(this, at, true);
      this.setUint32(at, 0xffffffff, true);
      reads.push(at);
      return value;
    });
    const count = queue.pop(1);
    spy.mockRestore();
    expect([count, queue.error]).toEqual([1, vq.VQ_OK]);
    if (typeof model === 'number') throw new Error(vq.VQ_ERRORS[model]);
    expect(compareRequest(queue, 0, model)).toBe('');
    expect(reads.length).toBe(new Set(reads).size);
    expect(reads.length).toBe(4 * 4 + 3);
  });

  it('takes a chain of 1024 buffers and no longer one', () => {
    for (const [buffers, error] of [
      [vq.MAX_CHAIN, vq.VQ_OK],
      [vq.MAX_CHAIN + 1, vq.VQ_LOOP],
    ] as const) {
      const guest = new TwinGuest(4);
      for (let i = 0; i < buffers; i++) {
        const last = i === buffers - 1;
        const flags = last ? W : N;
        guest.ring.describe(16 * (i + 64), {
          address: GUEST_HEADER + 31 * i,
          length: 16,
          flags,
          next: i + 1,
        });
      }
      guest.ring.descriptor(0, { address: 1024, length: 16 * buffers, flags: I, next: 0 });
      guest.offer(1);
      expect(guest.twins.pop(1)).toBe(error === vq.VQ_OK ? 1 : 0);
      expect(guest.twins.ts.error).toBe(error);
    }
  });

  it('refuses a chain of 4 GiB', () => {
    const big = 4 * 1024 * 1024;
    const guest = new TwinGuest(4, {}, big + GUEST_RAM);
    for (let i = 0; i < vq.MAX_CHAIN; i++) {
      const last = i === vq.MAX_CHAIN - 1;
      // Apart from each other, so that nothing is merged.
      const address = GUEST_RAM - 512 + 2 * (i % 2);
      const flags = last ? W : N;
      guest.ring.describe(GUEST_TABLE + 16 * i, { address, length: big, flags, next: i + 1 });
    }
    guest.ring.descriptor(0, {
      address: GUEST_TABLE,
      length: 16 * vq.MAX_CHAIN,
      flags: I,
      next: 0,
    });
    guest.offer(1);
    expect(guest.twins.pop(1)).toBe(0);
    expect(guest.twins.ts.error).toBe(vq.VQ_LOOP);
  });
});

describe('batches', () => {
  it('stops early where the segment table is full, and goes on', () => {
    const guest = new TwinGuest(32);
    const pairs = 1000;
    for (let i = 0; i < pairs; i++) {
      const flags = i === pairs - 1 ? W : N;
      guest.ring.describe(GUEST_TABLE + 16 * i, {
        address: GUEST_HEADER + 32 * i,
        length: 16,
        flags,
        next: i + 1,
      });
    }
    for (let i = 0; i < 32; i++) {
      guest.ring.descriptor(i, { address: GUEST_TABLE, length: 16 * pairs, flags: I, next: 0 });
    }
    guest.offer(32);
    const counts: number[] = [];
    for (let count = guest.twins.pop(128); count > 0; count = guest.twins.pop(128)) {
      counts.push(count);
    }
    expect(guest.twins.ts.error).toBe(vq.VQ_OK);
    expect(counts).toEqual([6, 6, 6, 6, 6, 2]);
  });

  it('pops MAX_BATCH at most, and all of a full ring', () => {
    const guest = new TwinGuest(256);
    guest.format();
    guest.offer(256);
    expect(guest.twins.hasAvailable()).toBe(true);
    expect([guest.twins.pop(1000), guest.twins.pop(1000), guest.twins.pop(1)]).toEqual([
      128, 128, 0,
    ]);
    expect(guest.twins.hasAvailable()).toBe(false);
  });

  it('goes round 65536 several times', () => {
    const guest = new TwinGuest(256, { eventIdx: true });
    guest.format();
    for (let served = 0; served < 200_000; served += 250) {
      guest.offer(250);
      guest.serve(250);
    }
    expect(guest.ring.usedIdx).toBe(200_000 % 65_536);
    expect(guest.twins.ts.inFlight).toBe(0);
  });

  it('serves the largest queue in one flush', () => {
    const size = 32_768;
    const guest = new TwinGuest(size, { eventIdx: true }, 1_000_000);
    const table = 900_000;
    guest.ring.describe(table, { address: 910_000, length: 16, flags: N, next: 1 });
    guest.ring.describe(table + 16, { address: 920_000, length: 1, flags: W, next: 0 });
    for (let i = 0; i < size; i++) {
      guest.ring.descriptor(i, { address: table, length: 32, flags: I, next: 0 });
    }
    guest.ring.usedEvent = 40_000;
    for (let round = 0; round < 2; round++) {
      guest.offer(size);
      // Half the index space: the driver is always told.
      expect(guest.serve(size)).toBe(true);
    }
    expect(guest.ring.usedIdx).toBe(0);
  });
});
