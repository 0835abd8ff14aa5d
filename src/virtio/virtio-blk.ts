// The data plane of a virtio-blk device (virtio 1.2, 5.2) on an IOThread: takes requests from its
// queues, hands them to a BlockBackend, answers them. What QEMU's hw/block/virtio-blk.c does with a
// virtqueue and `blk_aio_*`. Registers and features live with the transport, on the other side of
// the DeviceChannel.

import type { AioContext } from '../aio/aio-context.ts';
import { EventNotifier } from '../aio/event-notifier.ts';
import { MemoryRegion } from '../base/memory-region.ts';
import type { BlockBackend } from '../block/block-backend.ts';
import type { DeviceChannel } from './device-channel.ts';
import { RequestQueue } from './request-queue.ts';
import { SECTOR_SIZE, VIRTIO_BLK_ID_BYTES, VIRTIO_F_EVENT_IDX } from './spec.ts';
import { VIRTIO_F_INDIRECT_DESC, VIRTIO_F_RING_PACKED } from './spec.ts';
import type { Virtqueue, VirtqueueConfig } from './virtqueue.ts';

/** An I/O error on its way to the guest. */
export type IOErrorReport = (
  operation: 'read' | 'write' | 'flush' | 'discard' | 'write-zeroes',
  ret: number,
  offset: number,
) => void;

/** Where a device stood when it left another IOThread. Structured-cloneable. */
export interface RingPositions {
  /** Of the DeviceChannel, then. */
  readonly generation: number;
  /** By queue; see `Virtqueue.save`. */
  readonly rings: readonly (readonly [number, number] | undefined)[];
}

export interface VirtioBlkOptions {
  readonly id: string;
  readonly context: AioContext;
  readonly backend: BlockBackend;
  readonly channel: DeviceChannel;
  readonly doorbell: Int32Array;
  /** Guest RAM; guest address 0 is its first byte. Shared with the guest's thread. */
  readonly ram: Uint8Array;
  /** Makes the rings' reader for queue `index`. */
  readonly newQueue: (index: number, config: VirtqueueConfig) => Virtqueue;
  /** Answer to GET_ID. */
  readonly serial: string;
  readonly onError: IOErrorReport;
  /** The device broke and needs reset; `reason` is `VQ_*`. */
  readonly onBroken: (reason: number) => void;
  /** Sends the transport a message, where it cannot wait on shared memory. */
  readonly sendCall: () => void;
  /** The queues that are served here; the others are other IOThreads'. Default: all. */
  readonly vqs?: readonly number[] | undefined;
  /** The capacity is told by another thread. */
  readonly follower?: boolean | undefined;
  /** See `DeviceOptions.everyKick`. */
  readonly everyKick?: boolean | undefined;
  /** Where to go on, for a device that another IOThread served so far. */
  readonly resumeAt?: RingPositions | undefined;
}

export class VirtioBlk {
  readonly id: string;
  readonly backend: BlockBackend;
  readonly serial: Uint8Array;
  readonly onError: IOErrorReport;
  readonly #options: VirtioBlkOptions;
  /** The queues that are served here. */
  readonly #vqs: readonly number[];
  readonly #notifiers: readonly EventNotifier[];
  #queues: (RequestQueue | undefined)[] = [];
  #region: MemoryRegion;
  #generation = 0;
  #paused = false;
  readonly #onResize: () => void;

  constructor(options: VirtioBlkOptions) {
    this.id = options.id;
    this.backend = options.backend;
    this.onError = options.onError;
    this.#options = options;
    this.#region = new MemoryRegion(options.ram);
    this.serial = new Uint8Array(VIRTIO_BLK_ID_BYTES);
    this.serial.set(new TextEncoder().encode(options.serial).subarray(0, VIRTIO_BLK_ID_BYTES));
    this.#onResize = (): void => {
      if (options.follower === true) return;
      if (this.channel.setCapacity(Math.floor(this.backend.length / SECTOR_SIZE))) {
        options.sendCall();
      }
    };
    this.#onResize();
    this.backend.onResize(this.#onResize);
    const { words } = this.channel;
    this.#vqs = options.vqs ?? this.channel.allQueues;
    this.#notifiers = this.#vqs.map(
      (index) => new EventNotifier(words, this.channel.kickIndex(index), options.doorbell),
    );
    this.#notifiers.forEach((notifier, i) => {
      const index = this.#vqs[i]!;
      options.context.setEventNotifier(notifier, {
        onRead: () => {
          // What polling would find: the queue stopped at one ring's worth.
          if (this.#serve(index) && this.everyKick && this.#queues[index]!.hasWork())
            notifier.set();
        },
        onPoll: () => !this.everyKick && this.#poll(index),
        // Who has every request kicked never stopped asking, and serves nothing that was not kicked yet.
        onSleep: () =>
          !this.everyKick && !this.#paused && this.#queues[index]?.enableNotification() === true,
      });
    });
  }

  get channel(): DeviceChannel {
    return this.#options.channel;
  }
  get context(): AioContext {
    return this.#options.context;
  }
  /** Whether the driver is to kick for every request. */
  get everyKick(): boolean {
    return this.#options.everyKick === true;
  }
  /** The memory that requests of the present generation point into. */
  get region(): MemoryRegion {
    return this.#region;
  }
  /** The queues as they are served now; for counts in tests and statistics. */
  get queues(): readonly (RequestQueue | undefined)[] {
    return this.#queues;
  }
  /** Counts of all queues together, since the driver last started the device. */
  stats(): {
    id: string;
    requests: number;
    answeredSync: number;
    batches: number;
    interrupts: number;
    viewsMade: number;
  } {
    const sum = { requests: 0, answeredSync: 0, batches: 0, interrupts: 0 };
    for (const queue of this.#queues) {
      if (queue === undefined) continue;
      sum.requests += queue.counters.requests;
      sum.answeredSync += queue.counters.answeredSync;
      sum.batches += queue.counters.batches;
      sum.interrupts += queue.counters.interrupts;
    }
    return { id: this.id, ...sum, viewsMade: this.#region.viewsMade };
  }
  get writeCache(): boolean {
    return this.channel.writeCache;
  }

  /** Stops serving. Requests in flight end without touching guest memory. */
  remove(): void {
    for (const notifier of this.#notifiers) {
      this.#options.context.setEventNotifier(notifier, null);
    }
    this.backend.offResize(this.#onResize);
    this.#drop();
  }

  /** Takes no more requests; resolves when the last one is answered. For a move (BackendUser). */
  async pause(): Promise<void> {
    this.#paused = true;
    await this.backend.whenIdle();
  }

  /** Goes on after `pause`. */
  resume(): void {
    this.#paused = false;
    this.#kickAll();
    this.#options.context.notify();
  }

  /** Ends here, after `pause`, for another IOThread to go on with the same rings. */
  leave(): RingPositions {
    const rings = this.#queues.map((queue) => queue?.leave());
    const generation = this.#generation;
    this.remove();
    // It may leave again before it served anything here.
    if (generation === 0) return this.#options.resumeAt ?? { generation, rings: [] };
    return { generation, rings };
  }

  /** Waits for what is in flight; the guest's side has stopped submitting. */
  async drain(): Promise<void> {
    await this.backend.drain();
  }

  /** Raises queue `index`'s interrupt. */
  call(index: number): void {
    if (this.channel.call(index)) this.#options.sendCall();
  }

  /** DEVICE_NEEDS_RESET: every queue stops until the guest resets the device. */
  break(reason: number): void {
    for (const queue of this.#queues) queue?.stop();
    if (this.channel.break(reason)) this.#options.sendCall();
    this.#options.onBroken(reason);
  }

  #poll(index: number): boolean {
    if (!this.#ready()) return false;
    const queue = this.#queues[index];
    return queue !== undefined && queue.hasWork() && queue.serve();
  }

  #serve(index: number): boolean {
    return this.#ready() && this.#queues[index]?.serve() === true;
  }

  /** Takes over what the transport changed. False while nothing may be served. */
  #ready(): boolean {
    if (this.#paused) return false;
    if (this.channel.generation !== this.#generation) this.#takeOver();
    if (this.channel.broken === 0) return true;
    // A queue of another thread may have broken the device.
    for (const queue of this.#queues) queue?.stop();
    return false;
  }

  /** The transport reset or started the device: leave the old queues, take up the new ones. */
  #takeOver(): void {
    this.#drop();
    this.#region = new MemoryRegion(this.#options.ram);
    this.#generation = this.channel.generation;
    // A device that broke on another IOThread stays so until the driver resets it.
    if ((this.#generation & 1) === 1 && this.channel.broken === 0) {
      const { resumeAt } = this.#options;
      const rings = resumeAt?.generation === this.#generation ? resumeAt.rings : [];
      const features = this.channel.features;
      const has = (bit: number): boolean => ((features >> BigInt(bit)) & 1n) === 1n;
      for (const index of this.#vqs) {
        const setup = this.channel.queue(index);
        if (setup.size === 0) continue;
        const queue = this.#options.newQueue(index, {
          size: setup.size,
          desc: setup.desc,
          avail: setup.avail,
          used: setup.used,
          eventIdx: has(VIRTIO_F_EVENT_IDX),
          indirect: has(VIRTIO_F_INDIRECT_DESC),
          packed: has(VIRTIO_F_RING_PACKED),
        });
        const at = rings[index];
        if (at !== undefined) queue.restore(at);
        else if (setup.lastAvail !== 0 || setup.usedIdx !== 0) {
          queue.restore([setup.lastAvail, setup.usedIdx]);
        }
        const requests = new RequestQueue(this, index, queue, this.#region);
        // Whoever served the ring before may have left it with kicks off.
        if (this.everyKick) requests.enableNotification();
        this.#queues[index] = requests;
      }
    }
    this.channel.acknowledge(this.#generation, this.#vqs);
    // Kicks that came with the start, for whichever queue, are honoured now.
    this.#kickAll();
  }

  /**
   * Has every queue served by its own handler: one that has left polling comes back, and is not left
   * with its notifications off.
   */
  #kickAll(): void {
    for (const notifier of this.#notifiers) notifier.set();
  }

  #drop(): void {
    for (const queue of this.#queues) queue?.stop();
    this.#region.revoke();
    this.#queues = [];
  }
}
