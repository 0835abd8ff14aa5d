// What is the packed ring's own, on both queues in step: which lap a slot is of, the order in which
// a batch becomes visible, event suppression, and rings that break.

import { describe, expect, it, vi } from 'vitest';
import {
  PackedRingBuilder,
  moveOn,
  packedConfig,
  type PackedDescriptor,
} from '../testing/packed-ring-builder.ts';
import { Prng } from '../testing/prng.ts';
import { QueueTwins } from '../testing/queue-twins.ts';
import { PackedQueue } from './packed-queue.ts';
import * as vq from './virtqueue.ts';

const RAM = 65_533;
const N = 1;
const W = 2;
const I = 4;
const HEADER = 32_768;
const STATUS = 36_864;
const TABLE = 16_384;
const ENABLE = 0;
const DISABLE = 1;
const DESC = 2;

const head = (id = 0): PackedDescriptor => ({ address: HEADER, length: 16, id, flags: N });
const status = (id: number): PackedDescriptor => ({ address: STATUS, length: 1, id, flags: W });

class Guest {
  readonly twins = new QueueTwins(RAM, true);
  readonly config: vq.VirtqueueConfig;
  readonly ring: PackedRingBuilder;

  constructor(size: number, features: { eventIdx?: boolean } = {}) {
    this.config = packedConfig(size, 0, features);
    this.ring = new PackedRingBuilder(this.twins.ram, this.config);
    this.ring.header(HEADER, 1, 7);
    this.twins.start(this.config);
  }

  /** Offers requests of two slots each. */
  offer(...ids: number[]): void {
    for (const id of ids) this.ring.offer(head(), status(id));
    this.twins.sync();
  }

  /** Names of the chains popped. */
  pop(max = 128): number[] {
    const count = this.twins.pop(max);
    const { requests } = this.twins.ts;
    return Array.from({ length: count }, (_, i) => requests[i * vq.REQUEST_WORDS]!);
  }

  /** Answers `names` and publishes. */
  complete(...names: number[]): boolean {
    for (const name of names) this.twins.push(name, 1, STATUS, 0);
    const told = this.twins.flush();
    this.twins.compareRam();
    return told;
  }
}

describe('a packed ring', () => {
  it('goes round, in slots and laps, with completions out of order', () => {
    const guest = new Guest(5);
    let used: readonly [number, number] = [0, 1];
    for (let round = 0; round < 1000; round++) {
      const ids = [round % 65_536, 65_535 - round];
      guest.offer(...ids);
      const names = guest.pop();
      expect(names).toEqual(ids.map((id) => id + 2 * 65_536));
      guest.complete(...names.reverse());
      for (const id of ids.reverse()) {
        expect(guest.ring.slot(used[0])).toEqual([id, 1, (used[1] === 1 ? 0x8080 : 0) | W]);
        used = moveOn(used, 2, 5);
      }
      expect(guest.twins.hasAvailable()).toBe(false);
    }
    const position = used[0] | (used[1] << 15);
    expect(guest.twins.ts.save()).toEqual([position, position]);
    expect(guest.twins.wasm.save()).toEqual([position, position]);
  });

  it('shows the first entry of a batch last', () => {
    const guest = new Guest(8);
    guest.offer(1, 2, 3);
    const names = guest.pop();
    const queue = new PackedQueue({ region: guest.twins.ram, config: guest.config });
    queue.pop(3);
    const seen: number[][] = [];
    const flags = (): number[] => [0, 2, 4].map((slot) => guest.ring.slot(slot)[2] & 0x8000);
    for (const name of names) {
      queue.push(name, 1, STATUS, 0);
      seen.push(flags());
    }
    queue.flush();
    seen.push(flags());
    expect(seen).toEqual([
      [0, 0, 0],
      [0, 0x8000, 0],
      [0, 0x8000, 0x8000],
      [0x8000, 0x8000, 0x8000],
    ]);
    // Plain writes up to there, one atomic one: nothing else publishes.
    const { store } = Atomics;
    const spy = vi.spyOn(Atomics, 'store').mockImplementation(store);
    guest.offer(4);
    expect(queue.pop(1)).toBe(1);
    queue.push(4 + 2 * 65_536, 1, STATUS, 0);
    expect(spy).toHaveBeenCalledTimes(0);
    queue.flush();
    expect(spy).toHaveBeenCalledTimes(1);
    spy.mockRestore();
  });

  it('takes the id from the last descriptor, and ignores NEXT in a table', () => {
    const guest = new Guest(4);
    guest.ring.offer(head(77), status(5));
    guest.ring.describe(TABLE, { ...head(99), flags: 0 });
    guest.ring.describe(TABLE + 16, { ...status(98), flags: W | N });
    guest.ring.offer({ address: TABLE, length: 32, id: 6, flags: I });
    guest.twins.sync();
    expect(guest.pop()).toEqual([5 + 2 * 65_536, 6 + 65_536]);
    expect(guest.twins.ts.error).toBe(vq.VQ_OK);
  });

  it('reads each word once: what changes afterwards changes nothing', () => {
    const guest = new Guest(8);
    guest.offer(3);
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { getUint16, getUint32 } = DataView.prototype;
    const reads: number[] = [];
    const tear = (read: typeof getUint16, width: number) =>
      function (this: DataView, at: number): number {
        const value = read.call(this, at, true);
        for (let i = 0; i < width; i++) this.setUint8(at + i, 0xff);
        for (let i = 0; i < width; i++) reads.push(at + i);
        return value;
      };
    const spies = [
      vi.spyOn(DataView.prototype, 'getUint16').mockImplementation(tear(getUint16, 2)),
      vi.spyOn(DataView.prototype, 'getUint32').mockImplementation(tear(getUint32, 4)),
    ];
    const queue = new PackedQueue({ region: guest.twins.ram, config: guest.config });
    const count = queue.pop(1);
    for (const spy of spies) spy.mockRestore();
    expect([count, queue.error, queue.requests[vq.REQ_HEAD]]).toEqual([1, 0, 3 + 2 * 65_536]);
    expect(reads.length).toBe(new Set(reads).size);
    // Two descriptors but for the first one's flags, and three words of the header.
    expect(reads.length).toBe(14 + 16 + 12);
  });

  it('serves the largest ring in one flush', () => {
    const size = 32_768;
    const twins = new QueueTwins(1_000_000, true);
    const config = packedConfig(size, 0, { eventIdx: true });
    const ring = new PackedRingBuilder(twins.ram, config);
    const table = 900_000;
    ring.describe(table, { address: 910_000, length: 16, id: 0, flags: 0 });
    ring.describe(table + 16, { address: 920_000, length: 1, id: 0, flags: W });
    twins.start(config);
    const told: boolean[] = [];
    for (let lap = 0; lap < 3; lap++) {
      for (let i = 0; i < size; i++) ring.offer({ address: table, length: 32, id: i, flags: I });
      // Asks for the last slot of this lap, then for one of the lap to come.
      ring.setDriverEvent(DESC, lap === 1 ? [size - 1, 0] : [0, lap === 2 ? 0 : 1]);
      twins.sync();
      for (let left = size; left > 0; left -= 128) {
        expect(twins.pop(1000)).toBe(128);
        const { requests } = twins.ts;
        for (let i = 0; i < 128; i++) twins.push(requests[12 * i]!, 1, 920_000, 0);
      }
      told.push(twins.flush());
      twins.compareRam();
    }
    expect(told).toEqual([true, true, false]);
    expect([twins.pop(1), twins.ts.error, twins.ts.inFlight]).toEqual([0, vq.VQ_OK, 0]);
  });
});

describe('a broken packed ring', () => {
  it('stops at the first bad chain, answers those before it, and stays broken', () => {
    const guest = new Guest(8);
    guest.offer(1, 2);
    guest.ring.offer({ address: RAM, length: 16, id: 0, flags: 0 });
    guest.twins.sync();
    const names = guest.pop();
    expect([names.length, guest.twins.ts.error]).toEqual([2, vq.VQ_BAD_ADDRESS]);
    expect(guest.complete(...names)).toBe(true);
    expect(guest.ring.slot(2)).toEqual([2, 1, 0x8080 | W]);
    const before = guest.twins.ram.slice();
    expect([guest.pop(), guest.twins.hasAvailable()]).toEqual([[], false]);
    expect(guest.twins.enableNotification()).toBe(false);
    guest.twins.disableNotification();
    guest.twins.compareRam(before);
  });

  it.each([1, 2, 3, 256])('ends a list that never ends, size %i', (size) => {
    const guest = new Guest(size);
    for (let i = 0; i < size; i++) guest.ring.offer(head(i));
    guest.twins.sync();
    expect([guest.pop(), guest.twins.ts.error]).toEqual([[], vq.VQ_LOOP]);
  });

  it('takes no slot that is in use', () => {
    const full = new Guest(4);
    full.offer(1, 2);
    expect(full.pop().length).toBe(2);
    full.offer(3);
    expect([full.pop(), full.twins.ts.error]).toEqual([[], vq.VQ_TOO_MANY]);
    const partly = new Guest(4);
    partly.offer(1);
    expect(partly.pop().length).toBe(1);
    partly.ring.offer(head(), head());
    partly.twins.sync();
    expect([partly.pop(), partly.twins.ts.error]).toEqual([[], vq.VQ_TOO_MANY]);
  });

  it('takes a table of 1024 buffers and no longer one', () => {
    for (const [buffers, error] of [
      [vq.MAX_CHAIN, vq.VQ_OK],
      [vq.MAX_CHAIN + 1, vq.VQ_LOOP],
      [3000, vq.VQ_LOOP],
    ] as const) {
      const guest = new Guest(4);
      for (let i = 0; i < buffers; i++) {
        const flags = i === vq.MAX_CHAIN - 1 ? W : 0;
        const address = 60_000 + 31 * (i % 2);
        guest.ring.describe(1024 + 16 * i, { address, length: 16, id: 0, flags });
      }
      guest.ring.offer({ address: 1024, length: 16 * buffers, id: 1, flags: I });
      guest.twins.sync();
      expect(guest.pop().length).toBe(error === vq.VQ_OK ? 1 : 0);
      expect(guest.twins.ts.error).toBe(error);
    }
  });

  const sound = packedConfig(8, 1024);
  it.each<Partial<vq.VirtqueueConfig>>([
    { size: 0 },
    { size: 2.5 },
    { size: 32_769 },
    { size: -8 },
    { desc: 8 },
    { desc: RAM - 13 },
    { desc: 2 ** 32 - 16 },
    { avail: 1026 },
    { avail: RAM - 1 },
    { used: 1026 },
    { used: 2 ** 32 - 4 },
  ])('starts broken where the rings are %o', (part) => {
    const twins = new QueueTwins(RAM, true);
    twins.start({ ...sound, size: 7 });
    expect([twins.pop(1), twins.ts.error]).toEqual([0, vq.VQ_OK]);
    const before = twins.ram.slice();
    twins.start({ ...sound, ...part });
    expect([twins.pop(1), twins.ts.error]).toEqual([0, vq.VQ_BAD_ADDRESS]);
    expect(twins.hasAvailable() || twins.enableNotification() || twins.flush()).toBe(false);
    twins.disableNotification();
    twins.compareRam(before);
    twins.checkCanaries();
  });

  it('takes a saved position outside the ring for an error', () => {
    for (const state of [[5, 0x8000] as const, [0x8000, 0xffff] as const]) {
      const guest = new Guest(5);
      guest.twins.restore(state);
      expect([guest.pop(), guest.twins.ts.error]).toEqual([[], vq.VQ_BAD_INDEX]);
    }
  });

  it('takes a second push of one chain for a bug of ours', () => {
    const guest = new Guest(8);
    expect(() => guest.twins.ts.push(65_536, 1, 0, 0)).toThrow('pushed twice');
    expect(() => guest.twins.wasm.push(65_536, 1, 0, 0)).toThrow('pushed twice');
  });
});

describe('event suppression', () => {
  it('is a question of laps: as a count of all slots ever says, for all small rings', () => {
    let cases = 0;
    for (let size = 1; size <= 6; size++) {
      for (let old = 0; old < 3 * size; old++) {
        for (let count = 1; count <= size; count++) {
          for (let event = Math.max(0, old - size + 1); event < old + size; event++) {
            const next = old + count;
            const wrap = (at: number): number => (Math.floor(at / size) + 1) & 1;
            const word = (event % size) | (wrap(event) << 15) | (DESC << 16);
            // A side names slots of at most a lap; what lies further back was said before.
            if (event < next - size || event >= next + size) continue;
            const needed = vq.needPackedEvent(word, next % size, wrap(next), count, size);
            expect(needed, `${size} ${old} ${count} ${event}`).toBe(event >= old && event < next);
            cases += 1;
          }
        }
      }
    }
    expect(cases).toBe(1778);
  });

  it('interrupts as the driver asks', () => {
    const plain = new Guest(8);
    const eventful = new Guest(8, { eventIdx: true });
    const serve = (guest: Guest): boolean => {
      guest.offer(1);
      return guest.complete(...guest.pop());
    };
    const ask = (guest: Guest, ...event: Parameters<PackedRingBuilder['setDriverEvent']>) => {
      guest.ring.setDriverEvent(...event);
      guest.twins.sync();
      return serve(guest);
    };
    expect([ask(plain, ENABLE), ask(plain, DISABLE), ask(plain, ENABLE)]).toEqual([
      true,
      false,
      true,
    ]);
    expect(plain.twins.flush()).toBe(false);
    // The first of all is always told; then the slot counts, lap by lap.
    expect(ask(eventful, DESC, [4, 1])).toBe(true);
    const told = [1, 2, 3, 4].map(() => serve(eventful));
    expect(told).toEqual([false, true, false, false]);
    expect([ask(eventful, DESC, [2, 1]), ask(eventful, DESC, [5, 0])]).toEqual([false, true]);
  });

  it('asks for kicks at the slot it looks at next, and for none while it is at work', () => {
    const guest = new Guest(5, { eventIdx: true });
    guest.offer(1, 2);
    guest.complete(...guest.pop(1));
    expect(guest.ring.deviceEvent).toEqual([DESC, 2, 1]);
    guest.complete(...guest.pop());
    expect(guest.ring.deviceEvent).toEqual([DESC, 4, 1]);
    guest.twins.disableNotification();
    expect(guest.ring.deviceEvent[0]).toBe(DISABLE);
    guest.offer(3);
    guest.complete(...guest.pop());
    expect(guest.ring.deviceEvent[0]).toBe(DISABLE);
    expect(guest.twins.enableNotification()).toBe(false);
    expect(guest.ring.deviceEvent).toEqual([DESC, 1, 0]);
    const plain = new Guest(5);
    plain.twins.disableNotification();
    expect(plain.ring.deviceEvent[0]).toBe(DISABLE);
    plain.offer(1);
    expect(plain.twins.enableNotification()).toBe(true);
    expect(plain.ring.deviceEvent[0]).toBe(ENABLE);
    plain.twins.compareRam();
  });

  it('looks again after it has written its event: the driver may have looked before', () => {
    const guest = new Guest(8, { eventIdx: true });
    const queue = new PackedQueue({ region: guest.twins.ram, config: guest.config });
    const { store } = Atomics;
    const race = (act: () => unknown): unknown => {
      const publishFirst = (words: Uint32Array, index: number, value: number): number => {
        // The driver publishes, and sees the old event: no kick.
        spy.mockRestore();
        guest.offer(1);
        return store(words, index, value);
      };
      const spy = vi.spyOn(Atomics, 'store').mockImplementation(publishFirst as never);
      return act();
    };
    expect(race(() => queue.pop(8))).toBe(1);
    queue.disableNotification();
    expect(race(() => queue.enableNotification())).toBe(true);
    expect(queue.pop(8)).toBe(1);
    expect(guest.ring.deviceEvent).toEqual([DESC, 4, 1]);
  });

  it('interrupts once per batch', () => {
    const prng = new Prng(7);
    const guest = new Guest(61, { eventIdx: true });
    let at: [number, number] = [0, 1];
    let interrupts = 0;
    for (let batch = 0; batch < 300; batch++) {
      guest.ring.setDriverEvent(DESC, at);
      const count = 1 + prng.below(30);
      guest.offer(...Array.from({ length: count }, (_, i) => i));
      if (guest.complete(...guest.pop())) interrupts += 1;
      if (guest.twins.flush()) interrupts += 1;
      at = moveOn(at, 2 * count, 61);
    }
    expect(interrupts).toBe(300);
  });
});
