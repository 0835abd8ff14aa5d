// The guest's side against both device sides: interrupts and kicks counted, devices that lie, and the
// allocation of nothing at all.

import { describe, expect, it } from 'vitest';
import { makePair, PAIR_DATA, PAIR_KINDS } from '../testing/queue-pair.ts';
import { RingBuilder } from '../testing/ring-builder.ts';
import { DriverQueue } from './driver-queue.ts';
import type { GuestQueue } from './packed-driver-queue.ts';
import { REQ_HEAD, REQ_STATUS_ADDR, REQUEST_WORDS, type Virtqueue } from './virtqueue.ts';

const IN = 0;
const OUT = 1;

describe.each(PAIR_KINDS)('driver and device: %s', (kind) => {
  it('kicks and interrupts once per batch, not at all while the other side looks', () => {
    const { driver, queue } = makePair(kind, 64, 4, true);
    let kicks = 0;
    let interrupts = 0;
    const round = (): void => {
      for (let i = 0; i < 64; i++) driver.submitOne(OUT, 512 * i, PAIR_DATA, 512, i);
      if (driver.publish()) kicks += 1;
      if (driver.publish()) kicks += 1;
      serveAll(queue);
      if (queue.flush()) interrupts += 1;
      expect(driver.reap(() => {})).toBe(64);
    };
    for (let i = 0; i < 2000; i++) round();
    expect([kicks, interrupts]).toEqual([2000, 2000]);
    queue.disableNotification();
    driver.disableInterrupts();
    for (let i = 0; i < 500; i++) round();
    expect([kicks, interrupts]).toEqual([2000, 2000]);
    // Both ask again; what lies there already is said at once.
    driver.submitOne(OUT, 0, PAIR_DATA, 512, 1);
    expect([driver.publish(), queue.enableNotification()]).toEqual([false, true]);
    serveAll(queue);
    expect([queue.flush(), driver.enableInterrupts(), driver.hasUsed()]).toEqual([
      false,
      true,
      true,
    ]);
    driver.reap(() => {});
    expect([driver.enableInterrupts(), driver.hasUsed(), driver.inFlight]).toEqual([
      false,
      false,
      0,
    ]);
  });

  it('allocates nothing per request', { timeout: 60_000 }, () => {
    const { driver, queue } = makePair(kind, 64, 4, true);
    const done = (): void => {};
    const rounds = (count: number): void => {
      for (let r = 0; r < count; r++) {
        for (let i = 0; i < 64; i++) driver.submitOne(OUT, 4096 * i, PAIR_DATA + 4096 * i, 4096, i);
        driver.publish();
        serveAll(queue);
        queue.flush();
        driver.reap(done);
      }
    };
    rounds(2000);
    // Garbage that a collection frees in between counts too: only rises are added up.
    let allocated = 0;
    for (let part = 0; part < 100; part++) {
      const before = process.memoryUsage().heapUsed;
      rounds(200);
      allocated += Math.max(0, process.memoryUsage().heapUsed - before);
    }
    const perRequest = allocated / (100 * 200 * 64);
    process.stdout.write(`${kind}: ${perRequest.toFixed(3)} bytes a request\n`);
    expect(perRequest).toBeLessThan(2);
  });
});

function serveAll(queue: Virtqueue): void {
  for (let count = queue.pop(64); count > 0; count = queue.pop(64)) {
    const { requests } = queue;
    for (let i = 0; i < count; i++) {
      const at = i * REQUEST_WORDS;
      queue.push(requests[at + REQ_HEAD]!, 1, requests[at + REQ_STATUS_ADDR]!, 0);
    }
  }
}

describe('a device that lies', () => {
  const start = (): { driver: GuestQueue; device: RingBuilder } => {
    const { driver, ram } = makePair('TypeScript', 4, 2, true);
    return { driver, device: new RingBuilder(ram, driver.config) };
  };

  it('is not believed about requests that are not in flight', () => {
    for (const id of [1, 4, 70_000, 2 ** 32 - 1]) {
      const { driver, device } = start();
      const slot = driver.submitOne(IN, 0, PAIR_DATA, 512, 1);
      driver.publish();
      expect(slot).toBe(0);
      device.complete(id, 513);
      expect(driver.reap(() => {})).toBe(0);
      expect([driver.broken, driver.hasUsed()]).toEqual([true, false]);
      expect(driver.submitOne(IN, 0, PAIR_DATA, 512, 1)).toBe(-1);
    }
  });

  it('is not believed twice about one request', () => {
    const { driver, device } = start();
    driver.submitOne(IN, 0, PAIR_DATA, 512, 7);
    driver.submitOne(IN, 0, PAIR_DATA, 512, 8);
    driver.publish();
    device.complete(0, 513);
    device.complete(0, 513);
    const cookies: number[] = [];
    expect(driver.reap((cookie) => cookies.push(cookie))).toBe(1);
    expect([cookies, driver.broken]).toEqual([[7], true]);
  });

  it('is not believed about more completions than requests', () => {
    const { driver, device } = start();
    driver.submitOne(IN, 0, PAIR_DATA, 512, 7);
    driver.publish();
    device.usedIdx = 2;
    expect([driver.reap(() => {}), driver.broken]).toEqual([0, true]);
  });

  it('cannot have written more than it was given, nor be done without a status', () => {
    const { driver, device } = start();
    driver.submitOne(IN, 0, PAIR_DATA, 512, 7);
    driver.submitOne(OUT, 0, PAIR_DATA, 512, 8);
    driver.publish();
    device.complete(0, 2 ** 32 - 1);
    device.complete(1, 512);
    const seen: number[][] = [];
    driver.reap((...args) => seen.push(args));
    expect(seen).toEqual([
      [7, 0xff, 513],
      [8, 0xff, 1],
    ]);
  });
});

it('refuses what its own side gets wrong', () => {
  const { driver, ram } = makePair('TypeScript', 4, 2, true);
  const make = (offset: number, size: number, maxSegments: number) => () =>
    new DriverQueue({ memory: ram, offset, size, maxSegments, eventIdx: true });
  expect(make(100, 4, 2)).toThrow('page');
  expect(make(0, 5, 2)).toThrow('size');
  expect(make(0, 4, 1023)).toThrow('segments');
  expect(make(0, 16_384, 2)).toThrow('small');
  expect(() => driver.submitOne(IN, 511, PAIR_DATA, 512, 0)).toThrow('sector');
  expect(() => driver.submitOne(IN, 512, PAIR_DATA, 0, 0)).toThrow('empty');
  expect(() => driver.submit(IN, 512, [1, 1, 1, 1, 1, 1], 3, 0)).toThrow('segments');
  expect(driver.inFlight).toBe(0);
  // Beyond 64 bits of sectors: beyond every disk, not round the corner.
  driver.submitOne(IN, 2 ** 75, PAIR_DATA, 512, 0);
  const header = new DataView(ram.buffer, 0, ram.length);
  const table = header.getUint32(driver.config.desc, true);
  const at = header.getUint32(table, true);
  expect(header.getUint32(at + 12, true)).toBe(2 ** 32 - 1);
});
