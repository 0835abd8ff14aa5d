// The guest's side of virtio-blk, as Linux's virtio_blk driver, in memory of our own: the façade and
// the bounce transport submit through it, so there is one path into the block layer. Requests live
// in slots; their data lies in pages of a bounce pool. Nothing is allocated per request.

import type { TransportChannel } from './transport-channel.ts';
import { BOUNCE_PAGE, BouncePool } from './bounce-pool.ts';
import { DriverQueue } from './driver-queue.ts';
import type { DriverQueueOptions } from './driver-queue.ts';
import type { GuestQueue } from './packed-driver-queue.ts';
import { MAX_REQUEST_BYTES } from './request-driver.ts';
import type { RequestDriver } from './request-driver.ts';
import {
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from './spec.ts';

/** What the driver asks of the device. */
const FEATURES = [
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);

const MAX_PAGES = MAX_REQUEST_BYTES / BOUNCE_PAGE;

/** How a memory of our own is laid out, bytes from its start. */
export interface DriverLayout {
  readonly queueSize: number;
  readonly poolPages: number;
  /** Ring, headers, status bytes. */
  readonly ring: number;
  readonly pool: number;
  /** End of what the device may address; its own scratch comes after. */
  readonly ramBytes: number;
}

export interface DriverOptions {
  /** The device's RAM: ring and pool, from guest address 0. */
  readonly memory: Uint8Array;
  readonly layout: DriverLayout;
  readonly channel: TransportChannel;
  /** Rings the device's doorbell. */
  readonly ring: () => void;
  /** Makes the ring, split or packed. Default: `DriverQueue`, a split one. */
  readonly newQueue?: (options: DriverQueueOptions) => GuestQueue;
}

export class VirtioBlkDriver implements RequestDriver {
  readonly memory: Uint8Array;
  readonly channel: TransportChannel;
  readonly queue: GuestQueue;
  readonly #pool: BouncePool;
  readonly #ring: () => void;
  readonly #pairs: Uint32Array = new Uint32Array(2 * MAX_PAGES);
  // Per slot: how many bytes and which pages.
  readonly #bytes: Uint32Array;
  readonly #pages: Int32Array;
  readonly #freeSlots: Int32Array;
  #free: number;
  readonly #done: (slot: number, status: number) => void;
  #onDone: (slot: number, status: number) => void = () => {};

  /** `queueSize`: a power of two; `poolPages`: at least 16, so that the largest request fits. */
  static layout(queueSize: number, poolPages: number): DriverLayout {
    const ring = 0;
    const end = DriverQueue.bytes(queueSize, MAX_PAGES);
    const pool = Math.ceil(end / BOUNCE_PAGE) * BOUNCE_PAGE;
    return { queueSize, poolPages, ring, pool, ramBytes: pool + poolPages * BOUNCE_PAGE };
  }

  /** Sets the queue up and starts the device (DRIVER_OK). */
  constructor(options: DriverOptions) {
    const { layout } = options;
    this.memory = options.memory;
    this.channel = options.channel;
    this.#ring = options.ring;
    const where = { memory: options.memory, offset: layout.ring, size: layout.queueSize };
    const queueOptions = { ...where, maxSegments: MAX_PAGES, eventIdx: true };
    this.queue = options.newQueue?.(queueOptions) ?? new DriverQueue(queueOptions);
    this.#pool = new BouncePool(layout.pool, layout.poolPages);
    this.#bytes = new Uint32Array(layout.queueSize);
    this.#pages = new Int32Array(layout.queueSize * MAX_PAGES);
    this.#freeSlots = new Int32Array(layout.queueSize);
    for (let i = 0; i < layout.queueSize; i++) this.#freeSlots[i] = layout.queueSize - 1 - i;
    this.#free = layout.queueSize;
    this.#done = (slot, status): void => {
      this.#onDone(slot, status);
      this.#release(slot);
    };
    const { size, desc, avail, used, packed } = this.queue.config;
    this.channel.setQueue(0, { size, desc, avail, used, lastAvail: 0, usedIdx: 0 });
    const ringFeature = packed === true ? 1n << BigInt(VIRTIO_F_RING_PACKED) : 0n;
    this.channel.start(FEATURES | ringFeature, true);
    this.#ring();
  }

  get inFlight(): number {
    return this.queue.inFlight;
  }
  get broken(): boolean {
    return this.queue.broken;
  }

  reserve(bytes: number): number {
    const pages = Math.ceil(bytes / BOUNCE_PAGE);
    if (this.#free === 0 || pages > this.#pool.available) return -1;
    this.#free -= 1;
    const slot = this.#freeSlots[this.#free]!;
    this.#bytes[slot] = bytes;
    for (let i = 0; i < pages; i++) this.#pages[slot * MAX_PAGES + i] = this.#pool.take();
    return slot;
  }

  bytesOf(slot: number): number {
    return this.#bytes[slot]!;
  }

  put(slot: number, at: number, source: Uint8Array): void {
    for (let done = 0; done < source.length;) {
      const within = (at + done) % BOUNCE_PAGE;
      const take = Math.min(BOUNCE_PAGE - within, source.length - done);
      const page = this.#pages[slot * MAX_PAGES + Math.floor((at + done) / BOUNCE_PAGE)]!;
      const whole = take === source.length;
      this.memory.set(whole ? source : source.subarray(done, done + take), page + within);
      done += take;
    }
  }

  get(slot: number, at: number, target: Uint8Array): void {
    for (let done = 0; done < target.length;) {
      const within = (at + done) % BOUNCE_PAGE;
      const take = Math.min(BOUNCE_PAGE - within, target.length - done);
      const page = this.#pages[slot * MAX_PAGES + Math.floor((at + done) / BOUNCE_PAGE)]!;
      target.set(this.memory.subarray(page + within, page + within + take), done);
      done += take;
    }
  }

  submit(slot: number, type: number, offset: number): void {
    const bytes = this.#bytes[slot]!;
    const first = slot * MAX_PAGES;
    if (bytes > 0 && bytes <= BOUNCE_PAGE) {
      this.queue.submitOne(type, offset, this.#pages[first]!, bytes, slot);
      return;
    }
    let count = 0;
    for (let done = 0; done < bytes; done += BOUNCE_PAGE) {
      this.#pairs[2 * count] = this.#pages[first + count]!;
      this.#pairs[2 * count + 1] = Math.min(BOUNCE_PAGE, bytes - done);
      count += 1;
    }
    this.queue.submit(type, offset, this.#pairs, count, slot);
  }

  /** Rings where the device wants it. */
  kick(): void {
    if (this.queue.publish()) this.#ring();
  }

  hasUsed(): boolean {
    return this.queue.hasUsed();
  }

  reap(onDone: (slot: number, status: number) => void): number {
    this.#onDone = onDone;
    return this.queue.reap(this.#done);
  }

  enableCalls(): boolean {
    return this.queue.enableInterrupts();
  }

  #release(slot: number): void {
    const pages = Math.ceil(this.#bytes[slot]! / BOUNCE_PAGE);
    for (let i = 0; i < pages; i++) this.#pool.give(this.#pages[slot * MAX_PAGES + i]!);
    this.#freeSlots[this.#free] = slot;
    this.#free += 1;
  }
}
