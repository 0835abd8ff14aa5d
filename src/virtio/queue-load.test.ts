// Random loads through the guest's side and each device side: full rings, completions out of order,
// and sleeps that only a kick or an interrupt ends.

import { describe, expect, it } from 'vitest';
import { Prng } from '../testing/prng.ts';
import { makePair, PAIR_DATA, PAIR_KINDS, type QueuePair } from '../testing/queue-pair.ts';
import {
  REQ_HEAD,
  REQ_IN_BYTES,
  REQ_IN_COUNT,
  REQ_IN_FIRST,
  REQ_OUT_BYTES,
  REQ_OUT_COUNT,
  REQ_OUT_FIRST,
  REQ_SECTOR_HI,
  REQ_SECTOR_LO,
  REQ_STATUS_ADDR,
  REQ_TYPE,
  REQUEST_WORDS,
  VQ_OK,
} from './virtqueue.ts';

const IN = 0;
const OUT = 1;
const FLUSH = 4;

interface Request {
  readonly type: number;
  readonly offset: number;
  readonly pairs: readonly number[];
  readonly cookie: number;
  head?: number;
  statusAddr?: number;
  status?: number;
}

/** A driver and a device at random, and a list of what ought to be where. */
class RandomLoad {
  readonly pair: QueuePair;
  readonly #prng: Prng;
  readonly #maxSegments: number;
  readonly #eventIdx: boolean;
  readonly #submitted: Request[] = [];
  readonly #served: Request[] = [];
  readonly #finished = new Map<number, Request>();
  #cookie = 1;
  #kicked = true;
  #interrupted = false;
  done = 0;
  full = 0;

  constructor(kind: string, seed: number) {
    this.#prng = new Prng(seed);
    this.#maxSegments = this.#prng.pick([1, 2, 5, 30]);
    this.#eventIdx = this.#prng.chance(50);
    const size = this.#prng.pick([1, 2, 4, 16, 64]);
    this.pair = makePair(kind, size, this.#maxSegments, this.#eventIdx);
  }

  /** Every wake comes from a kick or an interrupt, so a lost one stops the load. */
  run(requests: number): void {
    const prng = this.#prng;
    let idle = 0;
    while (this.done < requests) {
      const before = this.done;
      idle += 1;
      if (idle > 2000) throw new Error(`stuck after ${this.done} requests`);
      if (prng.chance(60)) this.#submit();
      if (this.#kicked && prng.chance(50)) this.#pop();
      if (this.#served.length > 0 && prng.chance(70)) this.#complete();
      if (this.#interrupted && prng.chance(50)) this.#reap();
      if (this.done > before) idle = 0;
    }
  }

  #submit(): void {
    const { driver } = this.pair;
    const prng = this.#prng;
    for (let left = prng.below(driver.size) + 1; left > 0; left--) {
      const type = prng.pick([IN, OUT, FLUSH, 8, 11, 13]);
      const pairs: number[] = [];
      const count = type === FLUSH ? 0 : 1 + prng.below(this.#maxSegments);
      // Even pages only, so that no two segments touch.
      for (let i = 0; i < count; i++) {
        pairs.push(PAIR_DATA + 8192 * prng.below(30), 1 + prng.below(4096));
      }
      const offset = 512 * prng.below(2 ** 43);
      const request = { type, offset, pairs, cookie: this.#cookie };
      const slot =
        count === 1
          ? driver.submitOne(type, offset, pairs[0]!, pairs[1]!, this.#cookie)
          : driver.submit(type, offset, pairs, count, this.#cookie);
      if (slot < 0) {
        expect([driver.free, driver.inFlight]).toEqual([0, driver.size]);
        this.full += 1;
        break;
      }
      this.#submitted.push(request);
      this.#cookie += 1;
    }
    if (driver.publish()) this.#kicked = true;
  }

  #pop(): void {
    const { queue } = this.pair;
    const quiet = this.#prng.chance(50);
    if (quiet) queue.disableNotification();
    for (let count = queue.pop(7); count > 0; count = queue.pop(7)) {
      for (let i = 0; i < count; i++) this.#check(i * REQUEST_WORDS);
    }
    expect(queue.error).toBe(VQ_OK);
    this.#kicked = quiet && queue.enableNotification();
  }

  /** The device sees the oldest request that it has not seen, as the driver meant it. */
  #check(at: number): void {
    const { requests, segments } = this.pair.queue;
    const request = this.#submitted.shift()!;
    const { type, offset, pairs } = request;
    const word = (w: number): number => requests[at + w]!;
    const isOut = type % 2 === 1;
    const bytes = pairs.reduce((sum, length, i) => (i % 2 === 1 ? sum + length : sum), 0);
    const first = word(isOut ? REQ_OUT_FIRST : REQ_IN_FIRST);
    const count = word(isOut ? REQ_OUT_COUNT : REQ_IN_COUNT);
    const seen = [
      word(REQ_TYPE),
      512 * (word(REQ_SECTOR_HI) * 2 ** 32 + word(REQ_SECTOR_LO)),
      word(isOut ? REQ_OUT_BYTES : REQ_IN_BYTES),
      word(isOut ? REQ_IN_BYTES : REQ_OUT_BYTES),
      ...segments.subarray(2 * first, 2 * (first + count)),
    ];
    const meant = [type, offset, bytes, 0, ...pairs];
    if (seen.join() !== meant.join()) throw new Error(`${seen.join()}, not ${meant.join()}`);
    request.head = word(REQ_HEAD);
    request.statusAddr = word(REQ_STATUS_ADDR);
    this.#served.push(request);
  }

  #complete(): void {
    const { queue } = this.pair;
    for (let left = 1 + this.#prng.below(this.#served.length); left > 0; left--) {
      const [request] = this.#served.splice(this.#prng.below(this.#served.length), 1);
      request!.status = this.#prng.below(3);
      this.#finished.set(request!.cookie, request!);
      queue.push(request!.head!, 1, request!.statusAddr!, request!.status);
    }
    if (queue.flush()) this.#interrupted = true;
  }

  #reap(): void {
    const { driver } = this.pair;
    const quiet = this.#prng.chance(50);
    if (quiet) driver.disableInterrupts();
    driver.reap((cookie, status, written) => {
      const request = this.#finished.get(cookie)!;
      expect([status, written]).toEqual([request.status, 1]);
      this.#finished.delete(cookie);
      this.done += 1;
    });
    expect(driver.broken).toBe(false);
    this.#interrupted = quiet && driver.enableInterrupts();
  }
}

describe.each(PAIR_KINDS)('random loads: %s', (kind) => {
  it('arrive as submitted, and no wake-up is lost', { timeout: 60_000 }, () => {
    let full = 0;
    for (let seed = 1; seed <= 25; seed++) {
      const load = new RandomLoad(kind, seed);
      try {
        load.run(250);
      } catch (cause) {
        throw new Error(`seed ${seed}`, { cause });
      }
      full += load.full;
    }
    expect(full).toBeGreaterThan(50);
  });
});
