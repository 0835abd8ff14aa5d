// The bounce path between a guest driver (DriverQueue) in the guest's RAM on one side and a driver of
// ours on the other, by a ring and by messages. The IOThread is played by a few lines over a byte array.

import { beforeEach, describe, expect, it } from 'vitest';
import { DOORBELL_WORDS } from '../aio/event-notifier.ts';
import { DeviceHandle } from '../iothread/device-handle.ts';
import { parseRequestBatch } from '../iothread/device-messages.ts';
import { MessageDriver } from '../iothread/message-driver.ts';
import { PortDouble } from '../testing/port-pair.ts';
import { Prng } from '../testing/prng.ts';
import { DEVICE_GONE } from '../virtio/device-channel.ts';
import { DriverQueue } from '../virtio/driver-queue.ts';
import type { RequestDriver } from '../virtio/request-driver.ts';
import { SplitQueue } from '../virtio/split-queue.ts';
import { TransportChannel } from '../virtio/transport-channel.ts';
import { VirtioBlkDriver } from '../virtio/virtio-blk-driver.ts';
import { REQ_IN_BYTES, VQ_BAD_HEADER } from '../virtio/virtqueue.ts';
import { REQ_HEAD, REQ_IN_COUNT, REQ_IN_FIRST, REQ_OUT_COUNT } from '../virtio/virtqueue.ts';
import { REQ_OUT_FIRST, REQ_SECTOR_LO, REQ_STATUS_ADDR, REQ_TYPE } from '../virtio/virtqueue.ts';
import { BouncePath } from './bounce-path.ts';

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const DISCARD = 11;
const RAM = 8 << 20;
const DATA = 1 << 20;
const DISK = 4 << 20;
const MIB = 1 << 20;
/** Events (VIRTIO_F_EVENT_IDX 29) and indirect tables (28), as the guest's driver has them. */
const FEATURES = (1n << 29n) | (1n << 28n) | (1n << 32n);

/** Whether two runs of bytes are equal; `toEqual` takes seconds for a mebibyte. */
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The IOThread's side: a disk in memory. */
class PlayedDisk {
  readonly bytes = new Uint8Array(DISK);
  readonly served: number[] = [];
  fail = false;

  /** Serves a piece of a request. */
  transfer(type: number, offset: number, view: Uint8Array): void {
    const bytes = this.bytes.subarray(offset, offset + view.length);
    if (type === OUT) bytes.set(view);
    else if (type === IN) view.set(bytes);
    else if (type === GET_ID) view.set(new TextEncoder().encode('a serial number!1234'));
  }
}

/** A driver, and who serves up to `limit` of its requests. */
interface Played {
  readonly driver: RequestDriver;
  readonly device: DeviceHandle;
  serve(limit: number): void;
}

function playRing(disk: PlayedDisk, queueSize: number, poolPages: number): Played {
  const layout = VirtioBlkDriver.layout(queueSize, poolPages);
  const memory = new Uint8Array(new SharedArrayBuffer(layout.ramBytes));
  const channel = new TransportChannel(new SharedArrayBuffer(TransportChannel.bytes(1)), 1);
  const doorbell = new Int32Array(new SharedArrayBuffer(4 * DOORBELL_WORDS));
  const device = new DeviceHandle('test', channel, doorbell, async () => {});
  channel.setCapacity(DISK / 512);
  const driver = new VirtioBlkDriver({ memory, layout, channel, ring: () => device.kick(0) });
  const queue = new SplitQueue({ region: memory, config: driver.queue.config });
  const serve = (limit: number): void => {
    for (let left = limit; left > 0 && queue.pop(1) === 1; left--) {
      const { requests: table, segments } = queue;
      const type = table[REQ_TYPE]!;
      const reads = type === IN || type === GET_ID;
      const first = table[reads ? REQ_IN_FIRST : REQ_OUT_FIRST]!;
      const count = table[reads ? REQ_IN_COUNT : REQ_OUT_COUNT]!;
      let offset = table[REQ_SECTOR_LO]! * 512;
      for (let i = first; i < first + count; i++) {
        const view = memory.subarray(segments[2 * i], segments[2 * i]! + segments[2 * i + 1]!);
        disk.transfer(type, offset, view);
        offset += view.length;
      }
      disk.served.push(type);
      const written = reads ? table[REQ_IN_BYTES]! + 1 : 1;
      queue.push(table[REQ_HEAD]!, written, table[REQ_STATUS_ADDR]!, disk.fail ? 1 : 0);
      if (queue.flush()) channel.call(0);
    }
  };
  return { driver, device, serve };
}

function playMessages(disk: PlayedDisk, queueSize: number, poolPages: number): Played {
  const [port, theirs] = PortDouble.pair();
  const channel = TransportChannel.local(1);
  const device = new DeviceHandle('test', channel, undefined, async () => {});
  const state = { capacity: DISK / 512, broken: 0, lastErrno: 0 };
  const onCall = (): void => device.called();
  const driver = new MessageDriver({ port, channel, state, queueSize, poolPages, onCall });
  const waiting: [slot: number, type: number, offset: number, data: Uint8Array<ArrayBuffer>][] = [];
  theirs.onmessage = ({ data: message }: MessageEvent<unknown>): void => {
    const batch = parseRequestBatch(message, queueSize)!;
    const buffers = batch.data.values();
    for (let at = 0; at < batch.requests.length; at += 4) {
      const [slot, type, offset, bytes] = batch.requests.subarray(at, at + 4);
      const brought = bytes! > 0 && type! % 2 === 1 ? buffers.next().value : undefined;
      waiting.push([slot!, type!, offset!, new Uint8Array(brought ?? new ArrayBuffer(bytes!))]);
    }
  };
  const serve = (limit: number): void => {
    theirs.deliver();
    const answers: number[] = [];
    const data: ArrayBuffer[] = [];
    for (const [slot, type, offset, view] of waiting.splice(0, limit)) {
      disk.transfer(type, offset, view);
      disk.served.push(type);
      answers.push(slot, disk.fail ? 1 : 0);
      if (!disk.fail && view.length > 0 && type % 2 === 0) data.push(view.buffer);
    }
    if (answers.length > 0) theirs.postMessage({ answers: Int32Array.from(answers), data, state });
    port.deliver();
  };
  return { driver, device, serve };
}

class Rig {
  readonly ram = new Uint8Array(new SharedArrayBuffer(RAM));
  readonly disk = new PlayedDisk();
  readonly written: (readonly [from: number, to: number])[] = [];
  readonly guest: DriverQueue;
  readonly path: BouncePath;
  readonly device: DeviceHandle;
  readonly driver: RequestDriver;
  readonly #played: Played;

  constructor(transport: 'bounce' | 'messages', queueSize = 64, poolPages = 16) {
    const play = transport === 'bounce' ? playRing : playMessages;
    this.#played = play(this.disk, queueSize, poolPages);
    const { driver, device } = this.#played;
    this.driver = driver;
    this.device = device;
    this.path = new BouncePath({
      guest: { ram: this.ram, written: (from, to) => void this.written.push([from, to]) },
      driver,
      device,
      transport,
      numQueues: 1,
      newQueue: (_q, config) => new SplitQueue({ region: this.ram, config }),
    });
    const region = { memory: this.ram, offset: 4096, size: 32, maxSegments: 64, eventIdx: true };
    this.guest = new DriverQueue(region);
    this.start();
  }

  start(): void {
    const { size, desc, avail, used } = this.guest.config;
    this.path.channel.setQueue(0, { size, desc, avail, used, lastAvail: 0, usedIdx: 0 });
    this.path.channel.start(FEATURES, true);
    this.path.kick(0);
  }

  /** The IOThread: serves up to `limit` of our driver's requests. */
  serve(limit = Infinity): void {
    this.#played.serve(limit);
  }

  submit(type: number, offset: number, pairs: number[], cookie = 0): void {
    expect(this.guest.submit(type, offset, pairs, pairs.length / 2, cookie)).not.toBe(-1);
    if (this.guest.publish()) this.path.kick(0);
  }

  /** What the guest's driver sees: [cookie, status, bytes written]. */
  reap(): number[][] {
    const done: number[][] = [];
    this.guest.reap((...completion) => done.push(completion));
    return done;
  }
}

describe.each(['bounce', 'messages'] as const)('the bounce path, %s', (transport) => {
  let rig: Rig;
  beforeEach(() => (rig = new Rig(transport)));

  it('copies a write into a slot and a read out of one, once each', () => {
    const prng = new Prng(1);
    const bytes = prng.bytes(8192);
    rig.ram.set(bytes.subarray(0, 5000), DATA);
    rig.ram.set(bytes.subarray(5000), DATA + 100_000);
    rig.submit(OUT, 1024, [DATA, 5000, DATA + 100_000, 3192], 7);
    expect(rig.path.due()).toBe(false);
    expect(rig.path.expecting()).toBe(true);
    rig.serve();
    expect(rig.path.due()).toBe(true);
    rig.path.look();
    expect(rig.path.channel.takeCall(0)).toBe(true);
    expect(rig.reap()).toEqual([[7, 0, 1]]);
    expect(rig.disk.bytes.slice(1024, 1024 + 8192)).toEqual(bytes);

    rig.written.length = 0;
    rig.submit(IN, 1024, [DATA + 300_000, 1, DATA + 400_000, 8191], 8);
    rig.serve();
    rig.path.look();
    expect(rig.reap()).toEqual([[8, 0, 8193]]);
    expect(rig.ram[DATA + 300_000]).toBe(bytes[0]);
    expect(rig.ram.slice(DATA + 400_000, DATA + 408_191)).toEqual(bytes.slice(1));
    expect(rig.written).toContainEqual([DATA + 300_000, DATA + 300_001]);
    expect(rig.written).toContainEqual([DATA + 400_000, DATA + 408_191]);
    expect(rig.path.counters).toEqual({ requests: 2, bytesCopied: 16384, stalls: 0 });
  });

  it('passes FLUSH, DISCARD and GET_ID through, and answers the rest itself', () => {
    new DataView(rig.ram.buffer).setUint32(DATA + 8, 4, true);
    rig.submit(FLUSH, 0, [], 1);
    rig.submit(DISCARD, 0, [DATA, 16], 2);
    rig.submit(GET_ID, 0, [DATA + 512, 20], 3);
    rig.submit(DISCARD, 0, [DATA, 32], 4);
    rig.submit(10, 0, [DATA, 16], 5);
    rig.submit(OUT, 0, [DATA, 100], 6);
    rig.serve();
    rig.path.look();
    expect(rig.reap().sort()).toEqual([
      [1, 0, 1],
      [2, 0, 1],
      [3, 0, 21],
      [4, 2, 1],
      [5, 2, 1],
      [6, 1, 1],
    ]);
    expect(rig.disk.served).toEqual([FLUSH, DISCARD, GET_ID]);
    expect(new TextDecoder().decode(rig.ram.slice(DATA + 512, DATA + 532))).toMatch(/^a serial/);
  });

  it('cuts what does not fit a slot, waits for the pool, and reports one failure', () => {
    for (const failing of [false, true]) {
      rig = new Rig(transport, 64, 16); // one slot of 1 MiB at a time
      const bytes = new Prng(2).bytes(2.5 * MIB);
      rig.ram.set(bytes, DATA);
      rig.submit(OUT, 0, [DATA, MIB, DATA + MIB, 1.5 * MIB], 1);
      rig.submit(IN, 0, [DATA + 3 * MIB, 2.5 * MIB], 2);
      expect(rig.path.inFlight).toBe(1); // the second stays in the ring
      rig.disk.fail = failing;
      const done: number[][] = [];
      for (let round = 0; round < 6; round++) {
        rig.serve();
        rig.path.look();
        done.push(...rig.reap());
      }
      const status = failing ? 1 : 0;
      expect(done).toEqual([
        [1, status, 1],
        [2, status, failing ? 1 : 2.5 * MIB + 1],
      ]);
      expect(rig.disk.served).toEqual([OUT, OUT, OUT, IN, IN, IN]);
      if (!failing)
        expect(same(rig.ram.subarray(DATA + 3 * MIB, DATA + 5.5 * MIB), bytes)).toBe(true);
      expect(rig.path.counters['stalls']).toBe(2);
      expect(rig.driver.inFlight).toBe(0);
    }
  });

  it('leaves chains in the ring while there is no slot, and goes on by itself', () => {
    rig = new Rig(transport, 4, 16);
    for (let i = 0; i < 20; i++) rig.submit(OUT, 512 * i, [DATA + 512 * i, 512], i);
    rig.ram.fill(0xee, DATA, DATA + 512 * 20);
    const order: number[] = [];
    for (let round = 0; round < 20 && order.length < 20; round++) {
      rig.serve();
      rig.path.look();
      order.push(...rig.reap().map(([cookie]) => cookie!));
    }
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
    // Data are copied when a slot is free: not before.
    expect(rig.disk.bytes.subarray(512 * 4, 512 * 20).every((byte) => byte === 0xee)).toBe(true);
  });

  it('touches nothing after a reset, and lets it end when old writes have', () => {
    rig.ram.fill(1, DATA, DATA + 512);
    rig.submit(OUT, 0, [DATA, 512], 1);
    rig.submit(IN, 512, [DATA + 4096, 512], 2);
    rig.disk.bytes.fill(9, 512, 1024);
    rig.path.channel.reset();
    rig.path.kick(0);
    expect(rig.path.channel.settled).toBe(false);
    rig.written.length = 0;
    const before = rig.ram.slice();
    rig.serve();
    rig.path.look();
    expect(rig.path.channel.settled).toBe(true);
    expect(same(rig.ram, before)).toBe(true);
    expect(rig.written).toEqual([]);
    expect(rig.path.inFlight).toBe(0);
    expect(rig.disk.bytes[0]).toBe(1); // was on its way
    expect(rig.path.counters['requests']).toBe(2);
  });

  it('stops at a chain that breaks the protocol', () => {
    rig.submit(DISCARD, 0, [DATA, 8], 1);
    expect(rig.path.channel.broken).toBe(VQ_BAD_HEADER);
    expect(rig.path.channel.takeConfigCall()).toBe(true);
    rig.submit(FLUSH, 0, [], 2);
    rig.serve();
    rig.path.look();
    expect(rig.disk.served).toEqual([]);
  });

  it('hands on resizes, the cache mode, and the end of the IOThread', () => {
    const { channel } = rig.path;
    channel.takeConfigCall();
    rig.device.channel.setCapacity(1234);
    expect(rig.path.due()).toBe(true);
    rig.path.look();
    expect(channel.takeConfigCall()).toBe(true);
    expect(channel.capacity).toBe(1234);
    channel.setWriteCache(false);
    rig.submit(FLUSH, 0, [], 1);
    expect(rig.device.channel.writeCache).toBe(false);
    rig.device.fail(new Error('gone'));
    rig.path.look();
    expect(channel.broken).toBe(DEVICE_GONE);
    expect(rig.path.failed?.message).toBe('gone');
  });

  it('carries random loads to the same end as a plain copy', () => {
    const seed = 20261122;
    const prng = new Prng(seed);
    rig = new Rig(transport, 8, 20);
    const model = new Uint8Array(DISK);
    const checks: (() => void)[] = [];
    let done = 0;
    for (let i = 0; i < 400; i++) {
      while (rig.guest.free === 0 || prng.chance(30)) {
        rig.serve(1 + prng.below(4));
        rig.path.look();
        done += rig.reap().filter(([cookie, status]) => {
          expect(status, `seed ${seed}`).toBe(0);
          checks[cookie!]?.();
          return true;
        }).length;
      }
      const pairs: number[] = [];
      // Each request has 64 KiB of RAM and of the disk for itself while it is in flight.
      const at = DATA + (i % 64) * 65536;
      const offset = (i % 64) * 65536;
      for (let used = 0; used < 32768 && pairs.length < 20;) {
        const length = 512 * (1 + prng.below(16));
        pairs.push(at + used, length);
        used += length;
      }
      const total = pairs.reduce((sum, value, j) => sum + (j % 2) * value, 0);
      if (i % 128 < 64) {
        const bytes = prng.bytes(total);
        rig.ram.set(bytes, at);
        model.set(bytes, offset);
        rig.submit(OUT, offset, pairs, i);
      } else {
        const expected = model.slice(offset, offset + total);
        checks[i] = (): void => {
          const read = rig.ram.subarray(at, at + total);
          expect(same(read, expected), `seed ${seed}, request ${i}`).toBe(true);
        };
        rig.submit(IN, offset, pairs, i);
      }
    }
    while (done < 400) {
      rig.serve();
      rig.path.look();
      done += rig.reap().length;
    }
    expect(same(rig.disk.bytes, model)).toBe(true);
  });
});
