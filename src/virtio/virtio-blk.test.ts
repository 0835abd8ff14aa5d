import { describe, expect, it } from 'vitest';
import { DOORBELL_WORDS, EventNotifier } from '../aio/event-notifier.ts';
import { EIO, ENOSPC } from '../base/ret.ts';
import { BlockBackend } from '../block/block-backend.ts';
import { REQ_FUA } from '../block/block-driver.ts';
import { BlockNode } from '../block/block-node.ts';
import { ControllableState } from '../testing/controllable.ts';
import { testContext } from '../testing/test-context.ts';
import { TransportChannel } from './transport-channel.ts';
import { DriverQueue } from './driver-queue.ts';
import { PackedDriverQueue } from './packed-driver-queue.ts';
import { PackedQueue } from './packed-queue.ts';
import { SplitQueue } from './split-queue.ts';
import {
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from './spec.ts';
import { VirtioBlk } from './virtio-blk.ts';
import { VirtioBlkDriver } from './virtio-blk-driver.ts';
import { VQ_BAD_HEADER, VQ_BAD_INDEX, VQ_ERRORS } from './virtqueue.ts';

const LAYOUT = VirtioBlkDriver.layout(64, 32);
const DISK = 1 << 20;

interface RigOptions {
  readonly readOnly?: boolean;
  readonly mode?: 'sync' | 'held';
  readonly packed?: boolean;
  readonly everyKick?: boolean;
}

/** A device on a disk that answers as the test says, and a driver in front of it. */
function rig(options: RigOptions = {}) {
  const context = testContext();
  const state = new ControllableState(DISK, { mode: options.mode ?? 'sync' });
  const node = new BlockNode({
    name: 'disk',
    driver: 'controllable',
    kind: 'protocol',
    context,
    state,
    children: [],
    readOnly: options.readOnly === true,
  });
  const backend = new BlockBackend({ name: 'drive', context, root: node });
  const doorbell = new Int32Array(new SharedArrayBuffer(4 * DOORBELL_WORDS));
  const channel = new TransportChannel(new SharedArrayBuffer(TransportChannel.bytes(1)), 1);
  const ram = new Uint8Array(new SharedArrayBuffer(LAYOUT.ramBytes));
  const events: string[] = [];
  const device = new VirtioBlk({
    id: 'vda',
    context,
    backend,
    channel,
    doorbell,
    ram,
    newQueue: (_index, config) =>
      config.packed === true
        ? new PackedQueue({ region: ram, config })
        : new SplitQueue({ region: ram, config }),
    serial: 'serial-number-of-more-than-twenty',
    onError: (operation, ret, offset) => events.push(`${operation} ${ret} ${offset}`),
    onBroken: (reason) => events.push(`broken: ${VQ_ERRORS[reason]}`),
    sendCall: () => events.push('message'),
    everyKick: options.everyKick,
  });
  const kick = new EventNotifier(channel.words, channel.kickIndex(0), doorbell);
  const ring = (): void => {
    kick.set();
    context.notify();
  };
  const connect = (): VirtioBlkDriver =>
    new VirtioBlkDriver({
      memory: ram,
      layout: LAYOUT,
      channel,
      ring,
      newQueue: (queue) =>
        options.packed === true ? new PackedDriverQueue(queue) : new DriverQueue(queue),
    });
  const results: number[] = [];
  const go = async (driver: VirtioBlkDriver): Promise<void> => {
    driver.kick();
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };
  const settle = async (driver: VirtioBlkDriver): Promise<number[]> => {
    await go(driver);
    driver.reap((_slot, status) => results.push(status));
    return results.splice(0);
  };
  return { context, state, node, backend, channel, ram, device, events, ring, connect, go, settle };
}

/** Submits one request with `data` to send, or `bytes` to receive; answers the slot. */
function submit(
  driver: VirtioBlkDriver,
  type: number,
  offset: number,
  data: Uint8Array | number,
): number {
  const bytes = typeof data === 'number' ? data : data.length;
  const slot = driver.reserve(bytes);
  expect(slot).toBeGreaterThanOrEqual(0);
  if (typeof data !== 'number') driver.put(slot, 0, data);
  driver.submit(slot, type, offset);
  return slot;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function segment(sector: number, sectors: number, flags: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return new Uint8Array(view.buffer);
}

describe('a virtio-blk device', () => {
  it('reads and writes, also across the pages of the driver', async () => {
    const { connect, go, settle, state } = rig();
    const driver = connect();
    const data = new Uint8Array(200 * 1024).map((_, i) => i * 7);
    submit(driver, VIRTIO_BLK_T_OUT, 4096, data);
    expect(await settle(driver)).toEqual([VIRTIO_BLK_S_OK]);
    expect(same(state.bytes.subarray(4096, 4096 + data.length), data)).toBe(true);

    const slot = submit(driver, VIRTIO_BLK_T_IN, 4096, data.length);
    await go(driver);
    const back = new Uint8Array(data.length);
    driver.reap((done, status) => {
      expect([done, status]).toEqual([slot, VIRTIO_BLK_S_OK]);
      driver.get(done, 0, back);
    });
    expect(same(back, data)).toBe(true);
  });

  it('answers the serial number, 20 bytes, without a terminator', async () => {
    const { connect, go } = rig();
    const driver = connect();
    submit(driver, VIRTIO_BLK_T_GET_ID, 0, 20);
    submit(driver, VIRTIO_BLK_T_GET_ID, 0, 8);
    await go(driver);
    const ids: string[] = [];
    driver.reap((slot) => {
      const id = new Uint8Array(driver.bytesOf(slot));
      driver.get(slot, 0, id);
      ids.push(new TextDecoder().decode(id));
    });
    expect(ids.sort()).toEqual(['serial-n', 'serial-number-of-mor']);
  });

  it('flushes, discards and writes zeroes', async () => {
    const { connect, settle, state } = rig();
    const driver = connect();
    state.bytes.fill(0xaa);
    submit(driver, VIRTIO_BLK_T_WRITE_ZEROES, 0, segment(2, 4, 1));
    submit(driver, VIRTIO_BLK_T_DISCARD, 0, segment(8, 4, 0));
    submit(driver, VIRTIO_BLK_T_FLUSH, 0, 0);
    expect(await settle(driver)).toEqual([0, 0, 0]);
    expect(state.counts.flush).toBe(1);
    expect(state.counts.pdiscard).toBe(1);
    expect(state.bytes.subarray(1024, 3072).every((byte) => byte === 0)).toBe(true);
    expect(state.bytes[1023]).toBe(0xaa);
    expect(state.bytes[3072]).toBe(0xaa);
  });

  it('refuses what is outside the disk, not whole sectors, or not known', async () => {
    const { connect, settle, state, events } = rig();
    const driver = connect();
    const bad: [number, number, Uint8Array | number, number][] = [
      [VIRTIO_BLK_T_IN, DISK, 512, VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_OUT, DISK - 512, new Uint8Array(1024), VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_IN, 2 ** 70, 512, VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_IN, 0, 513, VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_OUT, 0, new Uint8Array(100), VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_WRITE_ZEROES, 0, segment(DISK / 512, 1, 0), VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_WRITE_ZEROES, 0, segment(0, 0xffff_ffff, 0), VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_WRITE_ZEROES, 0, segment(0, 1, 2), VIRTIO_BLK_S_UNSUPP],
      [VIRTIO_BLK_T_DISCARD, 0, segment(0, 1, 1), VIRTIO_BLK_S_UNSUPP],
      [VIRTIO_BLK_T_DISCARD, 0, new Uint8Array(32), VIRTIO_BLK_S_UNSUPP],
      [99, 0, new Uint8Array(16), VIRTIO_BLK_S_UNSUPP],
    ];
    for (const [type, offset, data, status] of bad) {
      submit(driver, type, offset, data);
      expect(await settle(driver), `type ${type} at ${offset}`).toEqual([status]);
    }
    expect(state.log).toEqual([]);
    expect(events).toEqual([]);
    submit(driver, VIRTIO_BLK_T_IN, DISK - 512, 512);
    expect(await settle(driver)).toEqual([VIRTIO_BLK_S_OK]);
  });

  it('reports errors of the disk, with the errno beside the status', async () => {
    const { connect, settle, state, events, channel } = rig();
    const driver = connect();
    state.failAt('pwritev', 1, -ENOSPC);
    submit(driver, VIRTIO_BLK_T_OUT, 512, new Uint8Array(512));
    expect(await settle(driver)).toEqual([VIRTIO_BLK_S_IOERR]);
    expect(events).toEqual([`write ${-ENOSPC} 512`]);
    expect(channel.lastErrno).toBe(ENOSPC);
  });

  it('makes an exception of a driver an I/O error, and lives on', async () => {
    const { connect, settle, state, events, backend } = rig();
    const driver = connect();
    state.throwNext('preadv');
    submit(driver, VIRTIO_BLK_T_IN, 0, 512);
    submit(driver, VIRTIO_BLK_T_IN, 0, 512);
    expect((await settle(driver)).sort()).toEqual([VIRTIO_BLK_S_OK, VIRTIO_BLK_S_IOERR]);
    expect(events).toEqual([`read ${-EIO} 0`]);
    expect(backend.lastBug).toBeDefined();
  });

  it('writes through when the cache is off', async () => {
    const { connect, settle, state, channel, backend } = rig();
    const driver = connect();
    submit(driver, VIRTIO_BLK_T_OUT, 0, new Uint8Array(512));
    await settle(driver);
    expect(state.counts.flush).toBe(0);
    expect(backend.enableWriteCache).toBe(true);
    channel.setWriteCache(false);
    submit(driver, VIRTIO_BLK_T_OUT, 0, new Uint8Array(512));
    await settle(driver);
    const flags = state.log.findLast((call) => call.kind === 'pwritev')!.flags;
    expect(state.counts.flush + ((flags & REQ_FUA) === 0 ? 0 : 1)).toBe(1);
    expect(backend.enableWriteCache).toBe(false);
  });

  it('serves a full ring with one interrupt, no promise and nothing allocated', async () => {
    const { connect, settle, device, channel, context } = rig();
    const driver = connect();
    const fill = async (): Promise<void> => {
      for (let i = 0; i < 32; i++) submit(driver, VIRTIO_BLK_T_IN, i * 4096, 4096);
      expect(await settle(driver)).toEqual(new Array<number>(32).fill(VIRTIO_BLK_S_OK));
    };
    await fill();
    const queue = device.queues[0]!;
    const before = { ...queue.counters };
    const { tracked } = context;
    const views = device.region.viewsMade;
    const seq = channel.callSeq;
    for (let round = 0; round < 10; round++) await fill();
    expect(queue.counters.requests - before.requests).toBe(320);
    expect(queue.counters.answeredSync - before.answeredSync).toBe(320);
    expect(queue.counters.batches - before.batches).toBe(10);
    expect(queue.counters.interrupts - before.interrupts).toBe(10);
    expect(channel.callSeq - seq).toBe(10);
    expect(queue.counters.pendings).toBe(0);
    expect(context.tracked).toBe(tracked);
    expect(device.region.viewsMade).toBe(views);
  });

  it('serves a packed ring where the driver takes one, with one interrupt a batch', async () => {
    const { connect, go, settle, state, device } = rig({ packed: true });
    const driver = connect();
    expect(driver.queue.config.packed).toBe(true);
    const data = new Uint8Array(200 * 1024).map((_, i) => i * 11);
    for (let round = 0; round < 20; round++) {
      submit(driver, VIRTIO_BLK_T_OUT, 4096, data);
      for (let i = 0; i < 20; i++) submit(driver, VIRTIO_BLK_T_IN, i * 4096, 4096);
      expect(await settle(driver)).toEqual(new Array<number>(21).fill(VIRTIO_BLK_S_OK));
    }
    expect(same(state.bytes.subarray(4096, 4096 + data.length), data)).toBe(true);
    const { requests, interrupts } = device.queues[0]!.counters;
    expect([requests, interrupts]).toEqual([420, 20]);
    const slot = submit(driver, VIRTIO_BLK_T_IN, 4096, data.length);
    await go(driver);
    const back = new Uint8Array(data.length);
    driver.reap(() => driver.get(slot, 0, back));
    expect(same(back, data)).toBe(true);
  });

  it('completes out of order what takes time, in pooled requests', async () => {
    const { connect, settle, state, device } = rig({ mode: 'held' });
    const driver = connect();
    for (let round = 0; round < 3; round++) {
      const slots = [0, 1, 2, 3].map((i) => submit(driver, VIRTIO_BLK_T_IN, i * 512, 512));
      expect(await settle(driver)).toEqual([]);
      expect(slots.length).toBe(4);
      for (const call of state.held.splice(0).reverse()) call.release();
      expect(await settle(driver)).toEqual([0, 0, 0, 0]);
    }
    expect(device.queues[0]!.counters.pendings).toBe(4);
  });

  it('drops what is in flight at a reset, touches nothing of it, and starts anew', async () => {
    const { connect, settle, state, channel, ram, ring } = rig({ mode: 'held' });
    const first = connect();
    state.bytes.fill(0x55);
    submit(first, VIRTIO_BLK_T_IN, 0, 4096);
    submit(first, VIRTIO_BLK_T_OUT, 8192, new Uint8Array(512).fill(1));
    await settle(first);
    expect(state.held.length).toBe(2);
    channel.reset();
    expect(channel.settled).toBe(false);
    ring();
    await settle(first);
    expect(channel.settled).toBe(true);
    ram.fill(0xee);
    for (const call of state.held.splice(0)) call.release();
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(ram.every((byte) => byte === 0xee)).toBe(true);

    state.mode = 'sync';
    const second = connect();
    submit(second, VIRTIO_BLK_T_IN, 0, 4096);
    expect(await settle(second)).toEqual([VIRTIO_BLK_S_OK]);
  });

  it('needs reset after a broken ring, serves nothing meanwhile, and recovers', async () => {
    const { connect, settle, channel, events, ram, ring, state } = rig();
    const driver = connect();
    submit(driver, VIRTIO_BLK_T_IN, 0, 512);
    const { avail } = driver.queue.config;
    new DataView(ram.buffer).setUint16(avail + 4, 0x7fff, true);
    expect(await settle(driver)).toEqual([]);
    expect(channel.broken).toBe(VQ_BAD_INDEX);
    expect(channel.takeConfigCall()).toBe(true);
    expect(events).toHaveLength(1);
    submit(driver, VIRTIO_BLK_T_IN, 0, 512);
    await settle(driver);
    expect(state.log).toEqual([]);
    channel.reset();
    ring();
    await settle(driver);
    expect(channel.broken).toBe(0);
    const again = connect();
    submit(again, VIRTIO_BLK_T_IN, 0, 512);
    expect(await settle(again)).toEqual([VIRTIO_BLK_S_OK]);
  });

  it('needs reset after a DISCARD without a whole segment', async () => {
    const { connect, settle, channel } = rig();
    const driver = connect();
    submit(driver, VIRTIO_BLK_T_DISCARD, 0, new Uint8Array(8));
    await settle(driver);
    expect(channel.broken).toBe(VQ_BAD_HEADER);
  });

  it('tells the driver of a new size', async () => {
    const { node, channel } = rig();
    expect(channel.capacity).toBe(DISK / 512);
    channel.takeConfigCall();
    const generation = channel.configGeneration;
    expect(await node.truncate(2 * DISK)).toBe(0);
    expect(channel.capacity).toBe((2 * DISK) / 512);
    expect(channel.configGeneration).not.toBe(generation);
    expect(channel.takeConfigCall()).toBe(true);
  });

  it('refuses writes to a read-only disk', async () => {
    const { connect, settle, state } = rig({ readOnly: true });
    const driver = connect();
    submit(driver, VIRTIO_BLK_T_OUT, 0, new Uint8Array(512));
    submit(driver, VIRTIO_BLK_T_IN, 0, 512);
    expect((await settle(driver)).sort()).toEqual([VIRTIO_BLK_S_OK, VIRTIO_BLK_S_IOERR]);
    expect(state.counts.pwritev).toBe(0);
  });

  for (const packed of [false, true]) {
    it(`has every request kicked when asked to (${packed ? 'packed' : 'split'} ring)`, async () => {
      const { context, connect, go, channel } = rig({ everyKick: true, packed });
      const driver = connect();
      const submitAll = (requests: number): void => {
        for (let i = 0; i < requests; i++) submit(driver, VIRTIO_BLK_T_FLUSH, 0, 0);
      };
      await go(driver);
      const answered = (): number => {
        let done = 0;
        driver.reap(() => (done += 1));
        return done;
      };
      // A whole ring at once, then one by one: each is served at its kick, which the driver does not leave out.
      for (const requests of [LAYOUT.queueSize, 1, 1, LAYOUT.queueSize, 1]) {
        submitAll(requests);
        expect(driver.queue.publish()).toBe(true);
        context.notify();
        await Promise.resolve();
        expect(answered()).toBe(0); // nobody looks without a kick, nor stays awake for it
        expect(context['handlers'].lastLook()).toBe(false);
        Atomics.store(channel.words, channel.kickIndex(0), 1);
        context.notify();
        for (let i = 0; i < 5; i++) await Promise.resolve();
        expect(answered()).toBe(requests);
      }
    });
  }
});
