// Random guests on packed rings, sound and broken, on both queues in step: lists and tables, batches,
// completions out of order, wraps, event suppression, and descriptors that change once popped.

import { expect, it } from 'vitest';
import { compareRequest, type ModelRequest } from '../testing/chain-model.ts';
import {
  PackedRingBuilder,
  moveOn,
  packedConfig,
  type PackedDescriptor,
} from '../testing/packed-ring-builder.ts';
import { Prng } from '../testing/prng.ts';
import { QueueTwins } from '../testing/queue-twins.ts';
import {
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from './spec.ts';
import { VQ_ERRORS, VQ_OK, type VirtqueueConfig } from './virtqueue.ts';

const RAM = 12_287;
const SIZES = [1, 2, 3, 5, 8, 13, 64];
const TABLE_ENTRIES = 8;
const STEPS = 24;

/** One guest and its device, from a seed. */
class RandomRing {
  readonly prng: Prng;
  readonly twins: QueueTwins;
  readonly config: VirtqueueConfig;
  readonly guest: PackedRingBuilder;
  readonly #hostile: boolean;
  readonly #tables: number;
  readonly #buffers: number;
  readonly #popped: ModelRequest[] = [];
  /** Ring slots of what the guest offered and the device has not taken yet, buffer by buffer. */
  #pending: number[] = [];
  #free: number;
  #inUse = 0;
  #avail: [number, number];
  #used: [number, number];
  #event: [number, number, number] = [0, 0, 0];
  #flushed = false;
  #broke = false;
  requests = 0;
  interrupts = 0;
  wraps = 0;

  constructor(seed: number, twins: QueueTwins) {
    const prng = new Prng(seed);
    this.prng = prng;
    this.twins = twins;
    this.#hostile = prng.chance(40);
    this.config = packedConfig(prng.pick(SIZES), 16 * prng.below(4), {
      eventIdx: prng.chance(60),
      indirect: prng.chance(80),
    });
    const { size, used } = this.config;
    this.#free = size;
    this.#tables = used + 4 + prng.below(16);
    this.#buffers = this.#tables + 16 * TABLE_ENTRIES * size;
    twins.ram.set(prng.bytes(RAM));
    this.#avail = prng.chance(50) ? [0, 1] : [prng.below(size), prng.below(2)];
    this.#used = this.#avail;
    this.guest = new PackedRingBuilder(twins.ram, this.config);
    this.guest.next = this.#avail;
    // Slots as after a lap: behind us used in this lap, before us in the lap before.
    for (let slot = 0; slot < size; slot++) {
      const wrap = slot < this.#avail[0] ? this.#avail[1] : this.#avail[1] ^ 1;
      this.guest.complete([slot, wrap], 0, 0);
    }
    this.guest.setDriverEvent(0);
    twins.start(this.config);
    const position = this.#avail[0] | (this.#avail[1] << 15);
    twins.restore([position, position]);
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
      const event = moveOn(this.#used, prng.below(config.size), config.size);
      this.#event = [prng.below(3), ...event];
      guest.setDriverEvent(this.#event[0], event);
    }
    while (prng.chance(75) && this.#offer());
    // Something available where nothing is free: a guest that overtakes the device.
    if (this.#hostile && prng.chance(3)) guest.offer(this.#descriptor(16, 0));
    // The device has read what it popped: a guest that changes it now changes nothing.
    if (prng.chance(30) && this.#popped.length > 0) {
      const [, wrap] = this.#used;
      guest.complete(this.#used, prng.below(65_536), 1);
      guest.complete([this.#used[0], wrap ^ 1], prng.below(65_536), 1);
    }
  }

  /** Offers a request, as a list or a table; false when too few slots are free. */
  #offer(): boolean {
    const { prng, guest, config } = this;
    const readable = 1 + prng.below(3);
    const parts = readable + 1 + prng.below(3);
    const indirect = config.indirect && prng.chance(60);
    const slots = indirect ? 1 : parts;
    if (this.#free < slots) return false;
    this.#free -= slots;
    this.#pending.push(slots);
    const id = prng.below(65_536);
    const table = this.#tables + 16 * TABLE_ENTRIES * guest.next[0];
    const list: PackedDescriptor[] = [];
    for (let i = 0; i < parts; i++) {
      const last = i === parts - 1;
      const next = indirect ? prng.below(2) : last ? 0 : VIRTQ_DESC_F_NEXT;
      const flags = (i < readable ? 0 : VIRTQ_DESC_F_WRITE) | next;
      // Of three readable parts none need hold a whole header. Only the last id counts.
      const sound = this.#descriptor(readable === 3 ? 6 : 16, flags);
      list.push(this.#bend({ ...sound, id: last ? id : prng.below(65_536) }));
    }
    if (indirect) {
      list.forEach((descriptor, i) => guest.describe(table + 16 * i, descriptor));
      const whole = { address: table, length: 16 * parts, id, flags: VIRTQ_DESC_F_INDIRECT };
      guest.offer(this.#bend(whole));
    } else {
      guest.offer(...list);
    }
    return true;
  }

  #descriptor(least: number, flags: number): PackedDescriptor {
    const length = least + this.prng.below(120);
    const address = this.#buffers + this.prng.below(RAM - this.#buffers - length);
    return { address, length, id: 0, flags };
  }

  /** Where this ring is hostile, breaks one field in 100 descriptors. */
  #bend(sound: PackedDescriptor): PackedDescriptor {
    const { prng } = this;
    if (!this.#hostile || !prng.chance(1)) return sound;
    switch (prng.below(4)) {
      case 0:
        return { ...sound, address: prng.pick([RAM - 1, RAM, 2 ** 32, 2 ** 32 - 8, 2 ** 52]) };
      case 1:
        return { ...sound, length: prng.pick([0, 1, 15, RAM, 2 ** 31, 2 ** 32 - 1]) };
      case 2:
        return { ...sound, flags: prng.below(8) };
      default:
        return { ...sound, flags: sound.flags ^ VIRTQ_DESC_F_WRITE };
    }
  }

  #deviceActs(): void {
    const { prng, twins } = this;
    twins.hasAvailable();
    if (prng.chance(20)) twins.disableNotification();
    if (prng.chance(70)) this.#pop(prng.pick([1, 2, 8, 200]));
    let slots = 0;
    let pushed = 0;
    while (this.#popped.length > 0 && prng.chance(60)) {
      const [request] = this.#popped.splice(prng.below(this.#popped.length), 1);
      const { head, statusAddr } = request!;
      twins.push(head, request!.in.length + 1, statusAddr, prng.below(3));
      slots += head >>> 16;
      pushed += 1;
    }
    this.#flush(pushed, slots);
    if (prng.chance(30)) twins.enableNotification();
  }

  #pop(max: number): void {
    const { twins, guest, config } = this;
    const before = twins.ts.error;
    const waiting = this.#pending.length;
    const models: (ModelRequest | number)[] = [];
    // What the device may see, as RAM is now: each buffer in the slots that are free for it.
    let [slot, wrap] = this.#avail;
    let inUse = this.#inUse;
    while (models.length < 200 && inUse < config.size) {
      const model = guest.model(slot, config.size - inUse);
      models.push(model);
      if (typeof model === 'number') break;
      inUse += model.head >>> 16;
      [slot, wrap] = moveOn([slot, wrap], model.head >>> 16, config.size);
    }
    const count = twins.pop(max);
    if (before !== VQ_OK) expect(count).toBe(0);
    for (let i = 0; i < count; i++) {
      const model = models[i];
      if (typeof model !== 'object') throw new Error(`popped: ${VQ_ERRORS[model ?? 0]}`);
      const difference = compareRequest(twins.ts, i, model);
      if (difference !== '') throw new Error(difference);
      const slots = model.head >>> 16;
      if (slots !== this.#pending.shift()) this.#broke = true;
      this.#popped.push(model);
      this.#inUse += slots;
      const [, lap] = this.#avail;
      this.#avail = moveOn(this.#avail, slots, config.size);
      if (this.#avail[1] !== lap) this.wraps += 1;
      this.requests += 1;
    }
    const { error } = twins.ts;
    if (before !== VQ_OK) return;
    if (error !== VQ_OK) expect(models[count] ?? 9).toBe(error);
    else if (!this.#hostile) expect(count).toBe(Math.min(max, waiting));
    if (!this.#hostile) expect([error, this.#broke]).toEqual([VQ_OK, false]);
  }

  #flush(pushed: number, slots: number): void {
    const { twins, config, guest } = this;
    const [flags, event, lap] = this.#event;
    let passed = false;
    let at = this.#used;
    for (let i = 0; i < slots; i++) {
      passed ||= at[0] === event && at[1] === lap;
      at = moveOn(at, 1, config.size);
    }
    const first = this.#used;
    this.#used = at;
    this.#inUse -= slots;
    this.#free += slots;
    const interrupt = twins.flush();
    if (pushed > 0) {
      const both = first[1] === 1 ? 0x8080 : 0;
      expect(guest.slot(first[0])[2]).toBe(both | VIRTQ_DESC_F_WRITE);
    }
    const byEvent = passed || !this.#flushed || !config.eventIdx;
    const wanted = flags === RING_EVENT_FLAGS_DESC ? byEvent : flags !== RING_EVENT_FLAGS_DISABLE;
    expect(interrupt).toBe(pushed > 0 && wanted);
    if (pushed > 0) this.#flushed = true;
    if (interrupt) this.interrupts += 1;
  }
}

it('agrees on 1500 random packed rings', { timeout: 60_000 }, () => {
  const twins = [new QueueTwins(RAM, true), new QueueTwins(RAM, false)];
  const errors = new Set<number>();
  let [requests, interrupts, wraps] = [0, 0, 0];
  for (let seed = 1; seed <= 1500; seed++) {
    const ring = new RandomRing(seed, twins[seed % 2]!);
    try {
      ring.run();
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
    errors.add(ring.twins.ts.error);
    requests += ring.requests;
    interrupts += ring.interrupts;
    wraps += ring.wraps;
    if (seed % 500 < 2) ring.twins.checkCanaries();
  }
  process.stdout.write(`${requests} requests, ${interrupts} interrupts, ${wraps} wraps\n`);
  expect(requests).toBeGreaterThan(20_000);
  expect(interrupts).toBeGreaterThan(3000);
  expect(wraps).toBeGreaterThan(3000);
  expect([...errors].sort()).toEqual([0, 3, 4, 5, 6, 7, 8, 9]);
});
