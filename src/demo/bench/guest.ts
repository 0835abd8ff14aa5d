// A guest's thread, as the benchmark needs one: keeps so many requests in flight in a virtqueue, reaps
// them with interrupts off (as Linux does under NAPI), polls for as long as that pays, and sleeps until
// the device interrupts. Nothing is allocated per request.

import { EventNotifier } from '../../aio/event-notifier.ts';
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../host/host.ts';
import { WAIT_ATOMICS, WAIT_NONE } from '../../virtio/device-channel.ts';
import { TransportChannel } from '../../virtio/transport-channel.ts';
import { DriverQueue } from '../../virtio/driver-queue.ts';
import {
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
} from '../../virtio/spec.ts';
import type { Sample } from './rounds.ts';
import { BlockOffsets } from './workload.ts';
import type { Workload } from './workload.ts';

const FEATURES = [
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);

const QUEUE_SIZE = 256;
const MAX_SEGMENTS = 16;
/** Most data in flight: 128 requests of 4 KiB, 32 of 64 KiB. Bytes. */
const DATA_BYTES = 2 * 1024 * 1024;
const RING_BYTES: number = DriverQueue.bytes(QUEUE_SIZE, MAX_SEGMENTS);
/** Guest RAM: the rings, then the data of each request in flight. Bytes. */
export const GUEST_RAM_BYTES: number = 2 * RING_BYTES + DATA_BYTES;
/** Where the data begin: there is room for two queues. */
const DATA_AT = 2 * RING_BYTES;
/** The cookie of a flush; requests with data have the number of their buffer. */
const FLUSH = -1;
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
const STUCK_MS = 10_000;

/** A device to drive: shared memory, all of it. */
export interface GuestDevice {
  /** Guest address 0 is its first byte; GUEST_RAM_BYTES long at least. */
  readonly memory: WebAssembly.Memory;
  readonly channel: SharedArrayBuffer;
  readonly doorbell: Int32Array;
  /** Of the second queue's IOThread, where the device has two: requests then go to them by turns. */
  readonly secondDoorbell?: Int32Array;
  /** What requests are spread over, bytes. */
  readonly diskBytes: number;
}

export interface GuestSample extends Sample {
  /** Doorbells rung, and times the guest slept. */
  readonly kicks: number;
  readonly sleeps: number;
}

export class Guest {
  readonly #clock: Clock;
  readonly #workload: Workload;
  readonly #type: number;
  /** One or two. */
  readonly #queues: readonly DriverQueue[];
  readonly #channel: TransportChannel;
  readonly #notifiers: readonly EventNotifier[];
  readonly #offsets: BlockOffsets;
  readonly #onDone: (cookie: number, status: number) => void;
  /** Writes until the next flush, and the buffers that wait for it. */
  #untilFlush = Infinity;
  readonly #parked: number[] = [];
  /** Waits until the next poll; 0 while polling pays. */
  #waitsToPoll = 0;
  #backoff = 0;
  #refill = false;
  #done = 0;
  #failed = 0;
  #kicks = 0;
  #sleeps = 0;

  /** Sets the queue up and starts the device (DRIVER_OK). */
  constructor(clock: Clock, device: GuestDevice, workload: Workload) {
    this.#clock = clock;
    this.#workload = workload;
    this.#type = workload.op === 'read' ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
    this.#channel = new TransportChannel(
      device.channel,
      device.secondDoorbell === undefined ? 1 : 2,
    );
    const { words } = this.#channel;
    const doorbells = [device.doorbell, device.secondDoorbell ?? []].flat();
    this.#notifiers = doorbells.map(
      (doorbell, q) => new EventNotifier(words, this.#channel.kickIndex(q), doorbell),
    );
    const ram = new Uint8Array(device.memory.buffer, 0, GUEST_RAM_BYTES);
    ram.fill(0xa5, DATA_AT);
    this.#queues = doorbells.map(
      (_, q) =>
        new DriverQueue({
          memory: ram,
          offset: q * RING_BYTES,
          size: QUEUE_SIZE,
          maxSegments: MAX_SEGMENTS,
          eventIdx: true,
        }),
    );
    this.#offsets = new BlockOffsets(device.diskBytes, workload);
    this.#onDone = (cookie, status): void => this.#finish(cookie, status);
    for (const [q, queue] of this.#queues.entries()) {
      const { size, desc, avail, used } = queue.config;
      this.#channel.setQueue(q, { size, desc, avail, used, lastAvail: 0, usedIdx: 0 });
    }
    this.#channel.start(FEATURES, true);
    for (const notifier of this.#notifiers) notifier.set();
  }

  /**
   * Keeps `depth` requests in flight for `ns` nanoseconds; writes until they are flushed. Throws when
   * one fails.
   */
  run(depth: number, ns: number): GuestSample {
    assert(depth * this.#workload.bytes <= DATA_BYTES, 'more in flight than there is memory');
    const clock = this.#clock;
    this.#done = this.#failed = this.#kicks = this.#sleeps = 0;
    this.#untilFlush = this.#workload.flushEvery ?? Infinity;
    this.#refill = true;
    for (const queue of this.#queues) queue.disableInterrupts();
    const start = clock.now();
    const end = start + ns;
    for (let i = 0; i < depth; i++) this.#submit(i);
    this.#kick();
    let now = start;
    while (now < end) {
      for (let i = 0; i < LOOKS_PER_CLOCK; i++) this.#serve();
      now = clock.now();
    }
    const { op } = this.#workload;
    let sample = this.#sample(now - start);
    this.#refill = false;
    this.#drain();
    if (op === 'write') {
      this.#flush();
      this.#drain();
      sample = this.#sample(clock.now() - start);
    }
    this.#parked.length = 0;
    if (this.#failed > 0) throw new Error(`${this.#failed} ${op}s of ${this.#done} failed`);
    return sample;
  }

  #sample(ns: number): GuestSample {
    return { requests: this.#done, ns, kicks: this.#kicks, sleeps: this.#sleeps };
  }

  #submit(buffer: number): void {
    if (this.#untilFlush === 0) {
      this.#parked.push(buffer);
      if (this.#inFlight === 0) this.#flush();
      return;
    }
    this.#untilFlush -= 1;
    const { bytes } = this.#workload;
    const address = DATA_AT + buffer * bytes;
    const queue = this.#queues[buffer % this.#queues.length]!;
    queue.submitOne(this.#type, this.#offsets.next(), address, bytes, buffer);
  }

  #flush(): void {
    this.#queues[0]!.submit(VIRTIO_BLK_T_FLUSH, 0, [], 0, FLUSH);
    this.#kick();
  }

  #finish(cookie: number, status: number): void {
    if (status !== VIRTIO_BLK_S_OK) this.#failed += 1;
    if (cookie !== FLUSH) {
      this.#done += 1;
      if (this.#refill) this.#submit(cookie);
      return;
    }
    this.#untilFlush = this.#workload.flushEvery ?? Infinity;
    if (this.#refill) for (const buffer of this.#parked.splice(0)) this.#submit(buffer);
  }

  #drain(): void {
    while (this.#inFlight > 0) this.#serve();
  }

  #kick(): void {
    for (let q = 0; q < this.#queues.length; q++) {
      if (!this.#queues[q]!.publish()) continue;
      this.#kicks += 1;
      this.#notifiers[q]!.set();
    }
  }

  get #inFlight(): number {
    return this.#queues.reduce((sum, queue) => sum + queue.inFlight, 0);
  }
  #reap(): number {
    let reaped = 0;
    for (let q = 0; q < this.#queues.length; q++) reaped += this.#queues[q]!.reap(this.#onDone);
    return reaped;
  }
  #hasUsed(): boolean {
    for (let q = 0; q < this.#queues.length; q++) if (this.#queues[q]!.hasUsed()) return true;
    return false;
  }

  /** Reaps what there is and submits as much again; where there is nothing, waits. */
  #serve(): void {
    if (this.#reap() > 0) this.#kick();
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
      for (let i = 0; i < LOOKS_PER_CLOCK; i++) if (this.#hasUsed()) return true;
    } while (this.#clock.now() < end);
    return false;
  }

  #sleep(): void {
    const channel = this.#channel;
    // Read before "waiting" is published: a device that sees the flag bumps it afterwards.
    const seq = channel.callSeq;
    channel.setWaiting(WAIT_ATOMICS);
    if (!this.#queues.map((queue) => queue.enableInterrupts()).includes(true)) {
      this.#sleeps += 1;
      const woken = Atomics.wait(channel.words, channel.callIndex, seq, STUCK_MS);
      if (woken === 'timed-out' && !this.#hasUsed()) this.#stuck();
    }
    channel.setWaiting(WAIT_NONE);
    for (const queue of this.#queues) queue.disableInterrupts();
  }

  #stuck(): never {
    const inFlight = this.#inFlight;
    const broken = this.#queues.some((queue) => queue.broken);
    const reason = broken ? 'the used ring is nonsense' : `device state ${this.#channel.broken}`;
    throw new Error(`${inFlight} requests unanswered for ${STUCK_MS} ms: ${reason}`);
  }
}
