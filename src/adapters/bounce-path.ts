// The bounce path, for an emulator whose RAM no other thread can see: this thread plays the data
// plane to the registers' channel and the guest to the IOThread's device, and copies in between, once
// each way. The virtqueues of the guest are read by the same code as in the IOThread.

import type { DeviceHandle } from '../iothread/device-handle.ts';
import { DEVICE_GONE } from '../virtio/device-channel.ts';
import { TransportChannel } from '../virtio/transport-channel.ts';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC } from '../virtio/spec.ts';
import type { RequestDriver } from '../virtio/request-driver.ts';
import { VQ_OK } from '../virtio/virtqueue.ts';
import type { Virtqueue, VirtqueueConfig } from '../virtio/virtqueue.ts';
import { BounceQueue } from './bounce-queue.ts';
import type { BounceRequest, GuestMemory } from './bounce-queue.ts';
import type { DataPath } from './data-path.ts';

/** Counts of all queues, those of before a reset included. */
interface Counts extends Record<string, number> {
  requests: number;
  bytesCopied: number;
  stalls: number;
}

export interface BouncePathOptions {
  readonly guest: GuestMemory;
  /** Submits to `device`, through memory of our own or as messages. */
  readonly driver: RequestDriver;
  readonly transport: 'bounce' | 'messages';
  readonly device: DeviceHandle;
  readonly numQueues: number;
  /** Makes the reader of the guest's queue `q`. */
  readonly newQueue: (q: number, config: VirtqueueConfig) => Virtqueue;
}

export class BouncePath implements DataPath {
  readonly transport: 'bounce' | 'messages';
  readonly channel: TransportChannel;
  readonly #options: BouncePathOptions;
  readonly #driver: RequestDriver;
  readonly #device: DeviceHandle;
  #queues: (BounceQueue | undefined)[] = [];
  #generation = 0;
  #seq: number;
  // Per slot of the driver: whose piece it is, where the piece starts, and of which queue it is.
  readonly #requests: (BounceRequest | undefined)[] = [];
  readonly #starts: number[] = [];
  readonly #owners: (BounceQueue | undefined)[] = [];
  readonly #onDone: (slot: number, status: number) => void;
  #onDue: (() => void) | null = null;
  #counts: Counts = { requests: 0, bytesCopied: 0, stalls: 0 };

  constructor(options: BouncePathOptions) {
    this.#options = options;
    this.transport = options.transport;
    this.#driver = options.driver;
    this.#device = options.device;
    this.channel = TransportChannel.local(options.numQueues);
    this.channel.setCapacity(this.#device.channel.capacity);
    this.#seq = this.#device.channel.callSeq;
    this.#onDone = (slot, status): void => {
      const owner = this.#owners[slot];
      const request = this.#requests[slot]!;
      this.#owners[slot] = undefined;
      // A request of before a reset has no owner: its memory is the guest's again.
      if (owner !== undefined) owner.finish(slot, request, this.#starts[slot]!, status);
    };
  }

  kick(q: number): void {
    if (this.channel.generation !== this.#generation) this.#takeOver();
    const queue = this.#queues[q];
    if (queue === undefined) return;
    this.#serve(queue);
    this.#driver.kick();
    this.#publish();
  }

  get polls(): boolean {
    return this.transport === 'bounce';
  }

  due(): boolean {
    return this.#driver.hasUsed() || this.#device.channel.callSeq !== this.#seq;
  }

  look(): void {
    this.#seq = this.#device.channel.callSeq;
    if (this.channel.generation !== this.#generation) this.#takeOver();
    this.#driver.reap(this.#onDone);
    let submitted = false;
    for (const queue of this.#queues) {
      if (queue?.stalled !== true) continue;
      this.#serve(queue);
      submitted = true;
    }
    if (submitted) this.#driver.kick();
    this.#publish();
    this.#mirror();
    // Writes of before a reset are on the disk or failed now: the driver may go on.
    if (!this.channel.settled && this.#driver.inFlight === 0) {
      this.channel.acknowledge(this.#generation, this.channel.allQueues);
    }
  }

  expecting(): boolean {
    return this.#driver.inFlight > 0;
  }

  arm(): void {
    this.#device.armCall();
  }
  onDue(listener: (() => void) | null): void {
    this.#onDue = listener;
    this.#device.onCall(listener === null ? null : () => this.#onDue?.());
  }

  get inFlight(): number {
    return this.#queues.reduce((sum, queue) => sum + (queue?.inFlight ?? 0), 0);
  }
  get failed(): Error | undefined {
    return this.#device.failed;
  }
  get counters(): Counts {
    const counts = { ...this.#counts };
    for (const queue of this.#queues) {
      counts.requests += queue?.requests ?? 0;
      counts.bytesCopied += queue?.bytesCopied ?? 0;
      counts.stalls += queue?.stalls ?? 0;
    }
    return counts;
  }

  remove(): Promise<void> {
    this.#queues = [];
    this.#owners.fill(undefined);
    return this.#device.remove();
  }

  #serve(queue: BounceQueue): void {
    this.#device.channel.setWriteCache(this.channel.writeCache);
    queue.serve();
    if (queue.error === VQ_OK) return;
    this.channel.break(queue.error);
    // All queues stop; what is in flight still goes to the disk, and to nobody's memory.
    this.#leave();
  }

  #publish(): void {
    for (let q = 0; q < this.#queues.length; q++) {
      if (this.#queues[q]?.publish() === true) this.channel.call(q);
    }
  }

  /** Passes on what the device says of itself: a new size, or that it is no more. */
  #mirror(): void {
    const { channel } = this.#device;
    const failed = this.#device.failed !== undefined || this.#driver.broken;
    if (!channel.takeConfigCall() && !failed) return;
    if (channel.capacity !== this.channel.capacity) this.channel.setCapacity(channel.capacity);
    if ((failed || channel.broken !== 0) && this.channel.broken === 0) {
      this.channel.break(DEVICE_GONE);
      this.#leave();
    }
  }

  #leave(): void {
    this.#counts = this.counters;
    this.#queues = [];
    this.#owners.fill(undefined);
  }

  /** The guest reset or started its device. */
  #takeOver(): void {
    this.#leave();
    this.#generation = this.channel.generation;
    if ((this.#generation & 1) === 1) {
      const features = this.channel.features;
      const has = (bit: number): boolean => ((features >> BigInt(bit)) & 1n) === 1n;
      const eventIdx = has(VIRTIO_F_EVENT_IDX);
      const indirect = has(VIRTIO_F_INDIRECT_DESC);
      for (let q = 0; q < this.channel.numQueues; q++) {
        const { size, desc, avail, used, lastAvail, usedIdx } = this.channel.queue(q);
        if (size === 0) continue;
        const config = { size, desc, avail, used, eventIdx, indirect };
        const queue = this.#options.newQueue(q, config);
        if (lastAvail !== 0 || usedIdx !== 0) queue.restore([lastAvail, usedIdx]);
        const onSlot = (slot: number, request: BounceRequest, at: number): void => {
          this.#requests[slot] = request;
          this.#starts[slot] = at;
          this.#owners[slot] = made;
        };
        const made = new BounceQueue(queue, this.#options.guest, this.#driver, onSlot);
        this.#queues[q] = made;
      }
    }
    if (this.#driver.inFlight === 0)
      this.channel.acknowledge(this.#generation, this.channel.allQueues);
  }
}
