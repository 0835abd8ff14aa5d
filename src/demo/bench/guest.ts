// A guest's thread, as the benchmark needs one: keeps so many 4 KiB reads at random offsets in flight
// in a virtqueue, reaps them with interrupts off (as Linux does under NAPI), polls for as long as that
// pays, and sleeps until the device interrupts. Nothing is allocated per request.

import { EventNotifier } from '../../aio/event-notifier.ts';
import type { Clock } from '../../host/host.ts';
import { DeviceChannel, WAIT_ATOMICS, WAIT_NONE } from '../../virtio/device-channel.ts';
import { DriverQueue } from '../../virtio/driver-queue.ts';
import {
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_T_IN,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
} from '../../virtio/spec.ts';
import { RandomBlocks, READ_BYTES } from './random-blocks.ts';
import type { Sample } from './rounds.ts';

const FEATURES = [
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);

const QUEUE_SIZE = 256;
const MAX_SEGMENTS = 16;
const MAX_DEPTH = 128;
const RING_BYTES: number = DriverQueue.bytes(QUEUE_SIZE, MAX_SEGMENTS);
/** Guest RAM: the ring, then a page for each request in flight. Bytes. */
export const GUEST_RAM_BYTES: number = RING_BYTES + MAX_DEPTH * READ_BYTES;
/** The clock is read once in this many looks at the ring. */
const LOOKS_PER_CLOCK = 16;
/** How long the guest polls before it sleeps, nanoseconds: about what waking an idle CPU takes. */
const POLL_NS = 100_000;
/**
 * After a poll in vain a wait goes by without one, after the next two, then four, so many at most:
 * device and guest may share a CPU.
 */
const MAX_BACKOFF = 64;
/** A device that answers nothing for so long is stuck. */
const STUCK_MS = 5000;

/** A device to drive: shared memory, all of it. */
export interface GuestDevice {
  /** Guest address 0 is its first byte; GUEST_RAM_BYTES long at least. */
  readonly memory: WebAssembly.Memory;
  readonly channel: SharedArrayBuffer;
  readonly doorbell: Int32Array;
  /** What reads are spread over, bytes. */
  readonly diskBytes: number;
}

export interface GuestSample extends Sample {
  /** Doorbells rung, and times the guest slept. */
  readonly kicks: number;
  readonly sleeps: number;
}

export class Guest {
  readonly #clock: Clock;
  readonly #queue: DriverQueue;
  readonly #channel: DeviceChannel;
  readonly #notifier: EventNotifier;
  readonly #blocks: RandomBlocks;
  readonly #onDone: (cookie: number, status: number) => void;
  /** Waits until the next poll; 0 while polling pays. */
  #waitsToPoll = 0;
  #backoff = 0;
  #refill = false;
  #done = 0;
  #failed = 0;
  #kicks = 0;
  #sleeps = 0;

  /** Sets the queue up and starts the device (DRIVER_OK). */
  constructor(clock: Clock, device: GuestDevice) {
    this.#clock = clock;
    this.#channel = new DeviceChannel(device.channel, 1);
    this.#notifier = new EventNotifier(
      this.#channel.words,
      this.#channel.kickIndex(0),
      device.doorbell,
    );
    this.#queue = new DriverQueue({
      memory: new Uint8Array(device.memory.buffer, 0, GUEST_RAM_BYTES),
      offset: 0,
      size: QUEUE_SIZE,
      maxSegments: MAX_SEGMENTS,
      eventIdx: true,
    });
    this.#blocks = new RandomBlocks(device.diskBytes);
    this.#onDone = (cookie, status): void => {
      this.#done += 1;
      if (status !== VIRTIO_BLK_S_OK) this.#failed += 1;
      if (this.#refill) this.#submit(cookie);
    };
    const { size, desc, avail, used } = this.#queue.config;
    this.#channel.setQueue(0, { size, desc, avail, used, lastAvail: 0, usedIdx: 0 });
    this.#channel.start(FEATURES, true);
    this.#notifier.set();
  }

  /** Keeps `depth` reads in flight for `ns` nanoseconds. Throws when a read fails. */
  run(depth: number, ns: number): GuestSample {
    const clock = this.#clock;
    this.#done = this.#failed = this.#kicks = this.#sleeps = 0;
    this.#refill = true;
    this.#queue.disableInterrupts();
    const start = clock.now();
    const end = start + ns;
    for (let i = 0; i < depth; i++) this.#submit(i);
    this.#kick();
    let now = start;
    while (now < end) {
      for (let i = 0; i < LOOKS_PER_CLOCK; i++) this.#serve();
      now = clock.now();
    }
    const sample = {
      requests: this.#done,
      ns: now - start,
      kicks: this.#kicks,
      sleeps: this.#sleeps,
    };
    this.#refill = false;
    while (this.#queue.inFlight > 0) this.#serve();
    if (this.#failed > 0) throw new Error(`${this.#failed} reads of ${this.#done} failed`);
    return sample;
  }

  #submit(page: number): void {
    const address = RING_BYTES + page * READ_BYTES;
    this.#queue.submitOne(VIRTIO_BLK_T_IN, this.#blocks.next(), address, READ_BYTES, page);
  }

  #kick(): void {
    if (!this.#queue.publish()) return;
    this.#kicks += 1;
    this.#notifier.set();
  }

  /** Reaps what there is and submits as much again; where there is nothing, waits. */
  #serve(): void {
    if (this.#queue.reap(this.#onDone) > 0) this.#kick();
    else this.#wait();
  }

  #wait(): void {
    if (this.#waitsToPoll > 0) {
      this.#waitsToPoll -= 1;
    } else {
      if (this.#pollOnce()) {
        this.#backoff = 0;
        return;
      }
      this.#backoff = Math.min(Math.max(2 * this.#backoff, 1), MAX_BACKOFF);
      this.#waitsToPoll = this.#backoff;
    }
    this.#sleep();
  }

  #pollOnce(): boolean {
    const end = this.#clock.now() + POLL_NS;
    do {
      for (let i = 0; i < LOOKS_PER_CLOCK; i++) if (this.#queue.hasUsed()) return true;
    } while (this.#clock.now() < end);
    return false;
  }

  #sleep(): void {
    const channel = this.#channel;
    // Read before "waiting" is published: a device that sees the flag bumps it afterwards.
    const seq = channel.callSeq;
    channel.setWaiting(WAIT_ATOMICS);
    if (!this.#queue.enableInterrupts()) {
      this.#sleeps += 1;
      const woken = Atomics.wait(channel.words, channel.callIndex, seq, STUCK_MS);
      if (woken === 'timed-out' && !this.#queue.hasUsed()) this.#stuck();
    }
    channel.setWaiting(WAIT_NONE);
    this.#queue.disableInterrupts();
  }

  #stuck(): never {
    const { inFlight, broken } = this.#queue;
    const reason = broken ? 'the used ring is nonsense' : `device state ${this.#channel.broken}`;
    throw new Error(`${inFlight} requests unanswered for ${STUCK_MS} ms: ${reason}`);
  }
}
