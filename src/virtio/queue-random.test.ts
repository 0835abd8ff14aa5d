// Random guests, sound and broken, on both queues in step: batches, completions out of order, event
// indices, positions that wrap at 65536, and descriptors that change once they were popped.

import { expect, it } from 'vitest';
import { compareRequest, modelChain, type ModelRequest } from '../testing/chain-model.ts';
import { Prng } from '../testing/prng.ts';
import { QueueTwins } from '../testing/queue-twins.ts';
import { RingBuilder, ringConfig, ringEnd, type Descriptor } from '../testing/ring-builder.ts';
import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from './spec.ts';
import {
  VQ_BAD_AVAIL_IDX,
  VQ_BAD_MESSAGE,
  VQ_ERRORS,
  VQ_OK,
  VQ_TOO_MANY,
  type VirtqueueConfig,
} from './virtqueue.ts';

const RAM = 12_287;
const SIZES = [1, 2, 4, 8, 16, 32, 64];
const TABLE_ENTRIES = 8;
const STEPS = 24;

/** One guest and its device, from a seed. */
class RandomRing {
  readonly prng: Prng;
  readonly twins: QueueTwins;
  readonly config: VirtqueueConfig;
  readonly guest: RingBuilder;
  /** Breaks something now and then. */
  readonly #hostile: boolean;
  readonly #tables: number;
  readonly #buffers: number;
  readonly #popped: ModelRequest[] = [];
  /** Ring entries that no chain uses, and those of each chain by its head. */
  readonly #free: number[] = [];
  readonly #chains = new Map<number, number[]>();
  #pushed = 0;
  #lastAvail: number;
  #usedIdx: number;
  #flushed = false;
  requests = 0;
  interrupts = 0;

  constructor(seed: number, twins: QueueTwins) {
    this.prng = new Prng(seed);
    this.twins = twins;
    this.#hostile = this.prng.chance(50);
    this.config = ringConfig(this.prng.pick(SIZES), 16 * this.prng.below(4), {
      eventIdx: this.prng.chance(60),
      indirect: this.prng.chance(80),
    });
    this.#tables = ringEnd(this.config) + this.prng.below(16);
    this.#buffers = this.#tables + 16 * TABLE_ENTRIES * this.config.size;
    this.guest = new RingBuilder(twins.ram, this.config);
    for (let i = 0; i < this.config.size; i++) this.#free.push(i);
    twins.ram.set(this.prng.bytes(RAM));
    const start = this.prng.chance(50) ? 65_536 - this.prng.below(20) : this.prng.below(65_536);
    this.#lastAvail = start % 65_536;
    this.#usedIdx = this.prng.chance(50) ? this.#lastAvail : this.prng.below(65_536);
    this.guest.availIdx = this.#lastAvail;
    this.guest.usedIdx = this.#usedIdx;
    this.guest.availFlags = 0;
    this.twins.start(this.config);
    this.twins.restore([this.#lastAvail, this.#usedIdx]);
  }

  run(): void {
    for (let step = 0; step < STEPS; step++) {
      this.#guestActs();
      this.twins.sync();
      this.#deviceActs();
      this.twins.compareRam();
    }
  }

  #guestActs(): void {
    const { prng, guest, config } = this;
    if (prng.chance(50)) {
      guest.usedEvent = (this.#usedIdx + prng.below(6) - 2) & 0xffff;
    }
    if (prng.chance(20)) guest.availFlags = prng.below(2);
    while (prng.chance(75) && this.#offer());
    if (this.#hostile && prng.chance(2)) guest.offer(prng.below(config.size + 1));
    if (this.#hostile && prng.chance(1)) guest.availIdx += config.size + 1;
    // The device has read what it popped: a guest that changes it now changes nothing.
    if (prng.chance(30)) {
      for (const { head } of this.#popped) guest.descriptor(head, this.#descriptor(4, 0));
    }
  }

  /** Offers a request, direct or indirect; false when too few descriptors are free. */
  #offer(): boolean {
    const { prng, guest, config } = this;
    const readable = 1 + prng.below(3);
    const parts = readable + 1 + prng.below(3);
    const indirect = config.indirect && prng.chance(70);
    const entries = indirect ? 1 : parts;
    if (this.#free.length < entries) return false;
    const taken = this.#free.splice(-entries);
    const head = taken[0]!;
    this.#chains.set(head, taken);
    const table = this.#tables + 16 * TABLE_ENTRIES * head;
    for (let i = 0; i < parts; i++) {
      const more = i < parts - 1;
      const flags = (i < readable ? 0 : VIRTQ_DESC_F_WRITE) | (more ? VIRTQ_DESC_F_NEXT : 0);
      const next = !more ? 0 : indirect ? i + 1 : taken[i + 1]!;
      // Of three readable parts none need hold a whole header.
      const descriptor = this.#bend(this.#descriptor(readable === 3 ? 6 : 16, flags, next));
      if (indirect) guest.describe(table + 16 * i, descriptor);
      else guest.descriptor(taken[i]!, descriptor);
    }
    const whole = { address: table, length: 16 * parts, flags: VIRTQ_DESC_F_INDIRECT, next: 0 };
    if (indirect) guest.descriptor(head, this.#bend(whole));
    guest.offer(head);
    return true;
  }

  #descriptor(least: number, flags: number, next = 0): Descriptor {
    const length = least + this.prng.below(120);
    const address = this.#buffers + this.prng.below(RAM - this.#buffers - length);
    return { address, length, flags, next };
  }

  /** Where this ring is hostile, breaks one field in 100 descriptors. */
  #bend(sound: Descriptor): Descriptor {
    const { prng } = this;
    if (!this.#hostile || !prng.chance(1)) return sound;
    switch (prng.below(5)) {
      case 0:
        return { ...sound, address: prng.pick([RAM - 1, RAM, 2 ** 32, 2 ** 32 - 8, 2 ** 52]) };
      case 1:
        return { ...sound, length: prng.pick([0, 1, 15, RAM, 2 ** 31, 2 ** 32 - 1]) };
      case 2:
        return { ...sound, flags: prng.below(8) };
      case 3:
        return { ...sound, next: prng.below(TABLE_ENTRIES + 2) };
      default:
        return { ...sound, flags: sound.flags ^ VIRTQ_DESC_F_WRITE };
    }
  }

  #deviceActs(): void {
    const { prng, twins } = this;
    twins.hasAvailable();
    if (prng.chance(20)) twins.disableNotification();
    if (prng.chance(70)) this.#pop(prng.pick([1, 2, 8, 200]));
    while (this.#popped.length > 0 && prng.chance(60)) this.#push();
    // At once: until then the bytes of a completion may or may not be in memory.
    this.#flush();
    if (prng.chance(30)) twins.enableNotification();
  }

  #pop(max: number): void {
    const { twins, guest, config } = this;
    const before = twins.ts.error;
    const inFlight = twins.ts.inFlight;
    const pending = (guest.availIdx - this.#lastAvail) & 0xffff;
    const count = twins.pop(max);
    if (before !== VQ_OK) expect(count).toBe(0);
    for (let i = 0; i < count; i++) {
      const model = modelChain(twins.ram, config, this.#headAt(this.#lastAvail));
      if (typeof model === 'number') throw new Error(`popped: ${VQ_ERRORS[model]}`);
      const difference = compareRequest(twins.ts, i, model);
      if (difference !== '') throw new Error(difference);
      this.#popped.push(model);
      this.#lastAvail = (this.#lastAvail + 1) & 0xffff;
      this.requests += 1;
    }
    const { error } = twins.ts;
    if (before !== VQ_OK) return;
    if (error === VQ_BAD_AVAIL_IDX) expect(pending).toBeGreaterThan(config.size);
    else if (error === VQ_TOO_MANY) expect(inFlight + count).toBe(config.size);
    else if (error === VQ_OK) expect(count).toBe(Math.min(max, pending));
    else expect(modelChain(twins.ram, config, this.#headAt(this.#lastAvail))).toBe(error);
  }

  #headAt(idx: number): number {
    const at = this.config.avail + 4 + 2 * (idx & (this.config.size - 1));
    return this.twins.ram[at]! | (this.twins.ram[at + 1]! << 8);
  }

  #push(): void {
    const { prng, twins } = this;
    const [request] = this.#popped.splice(prng.below(this.#popped.length), 1);
    const { head, statusAddr } = request!;
    this.#free.push(...(this.#chains.get(head) ?? []));
    this.#chains.delete(head);
    twins.push(head, request!.in.length + 1, statusAddr, prng.below(3));
    this.#pushed += 1;
  }

  #flush(): void {
    const { twins, config, guest } = this;
    const old = this.#usedIdx;
    let passed = false;
    const event = guest.usedEvent;
    for (let i = 0; i < this.#pushed; i++) passed ||= ((old + i) & 0xffff) === event;
    this.#usedIdx = (old + this.#pushed) & 0xffff;
    const interrupt = twins.flush();
    expect(guest.usedIdx).toBe(this.#usedIdx);
    if (config.eventIdx) {
      expect(interrupt).toBe(this.#pushed > 0 && (passed || !this.#flushed));
    }
    if (this.#pushed > 0) this.#flushed = true;
    this.#pushed = 0;
    if (interrupt) this.interrupts += 1;
  }
}

it('agrees on 2000 random rings', { timeout: 60_000 }, () => {
  const twins = [new QueueTwins(RAM, true), new QueueTwins(RAM, false)];
  const errors = new Set<number>();
  let requests = 0;
  let interrupts = 0;
  for (let seed = 1; seed <= 2000; seed++) {
    const ring = new RandomRing(seed, twins[seed % 2]!);
    try {
      ring.run();
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
    errors.add(ring.twins.ts.error);
    requests += ring.requests;
    interrupts += ring.interrupts;
    if (seed % 500 < 2) ring.twins.checkCanaries();
  }
  process.stdout.write(`${requests} requests, ${interrupts} interrupts\n`);
  expect(requests).toBeGreaterThan(40_000);
  expect(interrupts).toBeGreaterThan(5000);
  // All there are but the one that only requests sent as messages can have.
  const ofRings = [...VQ_ERRORS.keys()].filter((error) => error !== VQ_BAD_MESSAGE);
  expect([...errors].sort()).toEqual(ofRings);
});
