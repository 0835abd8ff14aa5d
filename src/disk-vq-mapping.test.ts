// One device whose queues two real IOThreads serve: what one queue was told is there for the others,
// flushes cover all of them, and resize, reset and removal stop both threads.

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Disk } from './disk.ts';
import type { NodeHost } from './host/node.ts';
import type { BlockdevOptions, IOThreadEvent } from './iothread/control.ts';
import type { DeviceHandle } from './iothread/device-handle.ts';
import { IOThread } from './iothread/iothread.ts';
import { ManyQueuesGuest, manyQueuesMemory } from './testing/many-queues-guest.ts';
import { nodeTestHost } from './testing/node-iothread.ts';
import { Prng } from './testing/prng.ts';

const MIB = 1024 * 1024;
const SHARED = { driver: 'raw', file: { driver: 'memory', size: MIB, share: true } };
let host: NodeHost;
let left: IOThread;
let right: IOThread;
const events: IOThreadEvent[] = [];
const open: { disk: Disk; device: DeviceHandle }[] = [];

beforeAll(async () => {
  host = await nodeTestHost();
  left = await IOThread.start(host, { id: 'left' });
  right = await IOThread.start(host, { id: 'right' });
});
afterEach(async () => {
  for (const { disk, device } of open.splice(0)) {
    await device.remove();
    await disk.close();
  }
  const nodes = await Promise.all([left.queryBlock(), right.queryBlock()]);
  expect(nodes).toEqual([[], []]);
});
afterAll(async () => {
  await Promise.all([left.close(), right.close()]);
});

/** A disk on `left`, its even queues served there and its odd ones on `right`. */
async function attach(what: BlockdevOptions, numQueues = 4) {
  events.length = 0;
  const onEvent = (event: IOThreadEvent): number => events.push(event);
  const disk = await Disk.open(host, what, { thread: left, onEvent });
  const place = manyQueuesMemory(numQueues);
  const iothreadVqMapping = [{ iothread: left }, { iothread: right }];
  const device = await disk.attachDevice({ ...place, iothreadVqMapping, id: 'vda' });
  open.push({ disk, device });
  const guest = new ManyQueuesGuest(device, place.memory);
  guest.start();
  return { disk, device, guest };
}

const requests = async (thread: IOThread): Promise<number> =>
  (await thread.queryIothread()).devices.find(({ id }) => id === 'vda')?.requests ?? 0;

describe('a device whose queues two IOThreads serve', () => {
  it('has each queue served by its own thread, and by that one only', async () => {
    const { guest } = await attach({ driver: 'null-co', size: MIB });
    for (const [q, times] of [3, 4, 5, 6].entries()) {
      for (let i = 0; i < times; i++) expect(await guest.write(q, 0, new Uint8Array(512))).toBe(0);
    }
    expect([await requests(left), await requests(right)]).toEqual([3 + 5, 4 + 6]);
  });

  it.each([1, 2, 3])('shows every queue what was answered on any other: seed %i', async (seed) => {
    const { guest, disk } = await attach(SHARED);
    const prng = new Prng(seed);
    const model = new Uint8Array(MIB);
    for (let round = 0; round < 150; round++) {
      // Ranges of its own for each request, so that the outcome is one; queues at random.
      const writes = Array.from({ length: 16 }, (_, part) => {
        const offset = (part * 128 + prng.below(120)) * 512;
        const data = prng.bytes((prng.below(8) + 1) * 512);
        model.set(data, offset);
        return guest.write(prng.below(4), offset, data);
      });
      expect((await Promise.all(writes)).every((status) => status === 0)).toBe(true);
      const offset = prng.below(MIB / 512 - 8) * 512;
      const [one, two] = await Promise.all([0, 1].map((q) => guest.read(q, offset, 4096)));
      const right = model.subarray(offset, offset + 4096);
      expect(Buffer.compare(one!, right) + Buffer.compare(two!, right), `round ${round}`).toBe(0);
    }
    const all = new Uint8Array(MIB);
    await disk.read(0, all);
    expect(Buffer.compare(all, model)).toBe(0);
  });

  it('does not leave a flush out because the other thread did the writing', async () => {
    const { guest } = await attach(SHARED);
    expect(await guest.write(0, 0, new Uint8Array(512).fill(1))).toBe(0);
    expect(await guest.flush(1)).toBe(0);
    expect(await guest.flush(1)).toBe(0);
    const [node] = (await right.queryBlock()).filter(({ driver }) => driver === 'memory');
    const stats = await right.queryBlockstats();
    expect(stats.find(({ nodeName }) => nodeName === node!.nodeName)!.flushOps).toBe(2);
  });

  it('is resized on both threads, and the driver hears of it', async () => {
    const { disk, device, guest } = await attach(SHARED);
    device.channel.takeConfigCall();
    await disk.resize(MIB / 2);
    expect(device.channel.takeConfigCall()).toBe(true);
    expect(device.channel.capacity).toBe(1024);
    for (const q of [0, 1]) {
      expect(await guest.write(q, MIB / 2 - 512, new Uint8Array(512))).toBe(0);
      expect(await guest.write(q, MIB / 2, new Uint8Array(512))).toBe(1);
    }
    await disk.resize(MIB);
    expect(await guest.write(1, MIB / 2, new Uint8Array(512).fill(7))).toBe(0);
    expect((await guest.read(0, MIB / 2, 512))[0]).toBe(7);
    await expect(disk.resize(2 * MIB)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await guest.write(1, 0, new Uint8Array(512))).toBe(0);
  });

  it('starts anew after a reset in the midst of requests, as often as its driver likes', async () => {
    const { guest } = await attach(SHARED);
    for (let round = 1; round <= 20; round++) {
      for (let i = 0; i < 32; i++)
        void guest.write(i % 4, i * 512, new Uint8Array(512).fill(round));
      await guest.reset();
      guest.start();
      for (const q of [0, 1, 2, 3]) {
        expect(await guest.write(q, q * 512, new Uint8Array(512).fill(100 + round))).toBe(0);
        expect((await guest.read(3 - q, q * 512, 512))[0]).toBe(100 + round);
      }
    }
  });

  it('stands still on both threads when one queue is broken, until it is reset', async () => {
    const { guest, device } = await attach(SHARED);
    expect(await guest.write(0, 0, new Uint8Array(512))).toBe(0);
    guest.breakRing(1);
    // The write before may call as well, and late.
    while (device.channel.broken === 0) {
      const called = new Promise<void>((resolve) => device.onCall(resolve));
      device.armCall();
      if (device.channel.broken === 0) await called;
    }
    const before = await requests(left);
    void guest.write(0, 0, new Uint8Array(512));
    await left.queryIothread();
    expect(await requests(left)).toBe(before);
    const again = new ManyQueuesGuest(device, manyQueuesMemory(4).memory);
    await again.reset();
    expect(device.channel.broken).toBe(0);
  });

  it('fails as a whole when one of its threads is gone', async () => {
    const other = await IOThread.start(host, { id: 'other' });
    const disk = await Disk.open(host, SHARED, { thread: left });
    const place = manyQueuesMemory(2);
    const iothreadVqMapping = [
      { iothread: left, vqs: [1] },
      { iothread: other, vqs: [0] },
    ];
    const device = await disk.attachDevice({ ...place, iothreadVqMapping, id: 'vda' });
    other.terminate();
    expect(device.failed?.message).toContain("IOThread 'other' is gone");
    await device.remove();
    await disk.write(0, new Uint8Array(512));
    await disk.close();
  });
});

describe('what several IOThreads cannot do', () => {
  it('is refused where a node is one thread’s alone, and says which', async () => {
    const disk = await Disk.open(host, { driver: 'memory', size: MIB }, { thread: left });
    const place = manyQueuesMemory(2);
    const iothreadVqMapping = [{ iothread: left }, { iothread: right }];
    await expect(disk.attachDevice({ ...place, iothreadVqMapping })).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringMatching(/\(memory\) is one thread's alone.*'share': true/) as string,
    });
    const wrong = [{ iothread: right }, { iothread: left }];
    await expect(disk.attachDevice({ ...place, iothreadVqMapping: wrong })).rejects.toMatchObject({
      code: 'EINVAL',
    });
    await disk.generation(); // as before
    await disk.close();
  });

  it.each([
    ['move', (disk: Disk) => disk.moveTo(right), 'EBUSY'],
    ['name its contents', (disk: Disk) => disk.generation(), 'ENOTSUP'],
    ['be checked', (disk: Disk) => disk.check(), 'ENOTSUP'],
    ['be exported', (disk: Disk) => disk.exportImage().getReader().read(), 'ENOTSUP'],
  ] as const)('is refused while they serve it: %s', async (_, ask, code) => {
    const { disk, guest } = await attach(SHARED);
    await expect(ask(disk)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/cannot be moved: |several IOThreads/) as string,
    });
    expect(await guest.write(1, 0, new Uint8Array(512))).toBe(0);
  });
});
