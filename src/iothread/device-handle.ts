// The page's end of a device: its channel, its kicks, and how completions are heard of when nobody
// polls: `Atomics.waitAsync` where there is one, else a message from the worker. A device without
// shared memory has no kicks: its requests are messages (message-driver.ts), and so are its calls.

import { EventNotifier, ringDoorbell } from '../aio/event-notifier.ts';
import { DEVICE_GONE, WAIT_ATOMICS, WAIT_MESSAGE, WAIT_NONE } from '../virtio/device-channel.ts';
import type { TransportChannel } from '../virtio/transport-channel.ts';
import type { DeviceWiring } from './device-table.ts';

/** Made so far. */
let devices = 0;

/**
 * A virtio-blk device that one IOThread serves, or several do, seen from the thread of its driver. Who has
 * its registers sets it up through `channel`, kicks, and looks there for interrupts.
 */
export class DeviceHandle {
  /** As it was added. */
  readonly id: string;
  /** The words that the transport and the IOThread share. */
  readonly channel: TransportChannel;
  #doorbells: readonly (Int32Array | undefined)[];
  #notifiers: EventNotifier[] = [];
  #remove: () => Promise<void>;
  /** @internal What it is made of; undefined where requests are messages, or several threads serve it. */
  readonly wiring: DeviceWiring | undefined;
  /** @internal One device's in this page. */
  readonly key: number = ++devices;
  /** @internal Threads that were told of `wiring`, and how they forget it. */
  readonly told: Map<unknown, () => Promise<void>> = new Map();
  /** @internal Another doorbell that kicks ring. */
  ringToo: Int32Array | undefined;
  readonly #how: number;
  #listener: (() => void) | null = null;
  #armed = false;
  #failed: Error | undefined;

  /**
   * `doorbell` is what the IOThread sleeps on, or for each queue what its IOThread does; undefined where
   * the channel is not shared. `remove` asks to take the device away.
   */
  constructor(
    id: string,
    channel: TransportChannel,
    doorbell: Int32Array | undefined | readonly Int32Array[],
    remove: () => Promise<void>,
    wiring?: DeviceWiring,
  ) {
    this.wiring = wiring;
    this.id = id;
    this.channel = channel;
    this.#doorbells = this.#forEach(doorbell);
    this.#remove = remove;
    const canWait = doorbell !== undefined && typeof Atomics.waitAsync === 'function';
    this.#how = canWait ? WAIT_ATOMICS : WAIT_MESSAGE;
    this.#watch();
  }

  /** @internal Another IOThread serves the device from now on. Kicks that went to the old one count. */
  moved(doorbell: Int32Array | undefined, remove: () => Promise<void>): void {
    this.#doorbells = this.#forEach(doorbell);
    this.#remove = remove;
    this.ringToo = undefined;
    this.#watch();
    for (let q = 0; q < this.channel.numQueues; q++) this.kick(q);
    // A message that said so may have come while no thread was known to have the device.
    this.called();
  }

  #watch(): void {
    const { channel } = this;
    this.#notifiers = [];
    for (const [q, doorbell] of this.#doorbells.entries()) {
      if (doorbell === undefined) continue;
      this.#notifiers[q] = new EventNotifier(channel.words, channel.kickIndex(q), doorbell);
    }
  }

  #forEach(
    doorbell: Int32Array | undefined | readonly Int32Array[],
  ): readonly (Int32Array | undefined)[] {
    if (doorbell !== undefined && !(doorbell instanceof Int32Array)) return doorbell;
    return this.channel.allQueues.map(() => doorbell);
  }

  /**
   * What the IOThread that serves queue `q` sleeps on; a guest on a thread of its own rings it there.
   * Undefined where the channel is not shared.
   */
  doorbell(q = 0): Int32Array | undefined {
    return this.#doorbells[q];
  }

  /** Why the device is gone, when its IOThread is. */
  get failed(): Error | undefined {
    return this.#failed;
  }

  /** Rings queue `q`'s doorbell: a store, and a wake only if the worker sleeps. */
  kick(q: number): void {
    this.#notifiers[q]?.set();
    if (this.ringToo !== undefined) ringDoorbell(this.ringToo);
  }

  /** Calls back after the device called while armed, or failed. Null stops it. */
  onCall(listener: (() => void) | null): void {
    this.#listener = listener;
  }

  /**
   * Arranges that `onCall` fires for the next call. The caller arms first, then looks once more
   * for what was completed before, and only then goes idle.
   */
  armCall(): void {
    if (this.#armed) return;
    this.#armed = true;
    const seq = this.channel.callSeq;
    this.channel.setWaiting(this.#how);
    if (this.#how === WAIT_MESSAGE) return;
    const wait = Atomics.waitAsync(this.channel.words, this.channel.callIndex, seq);
    if (wait.async) void wait.value.then(() => this.called());
    else queueMicrotask(() => this.called());
  }

  /** @internal The device called: from the wait above, or from the worker's message. */
  called(): void {
    if (!this.#armed) return;
    this.#armed = false;
    this.channel.setWaiting(WAIT_NONE);
    this.#listener?.();
  }

  /** @internal The IOThread is gone: the device needs reset and never answers again. */
  fail(error: Error): void {
    if (this.#failed !== undefined) return;
    this.#failed = error;
    this.channel.break(DEVICE_GONE);
    this.#armed = false;
    this.#listener?.();
  }

  /** Waits for what is in flight, then takes the device away. Its disk stays open. */
  async remove(): Promise<void> {
    await this.#remove();
    // A thread that is gone knows nothing anyway.
    for (const forget of this.told.values()) void forget().catch(() => {});
  }
}
