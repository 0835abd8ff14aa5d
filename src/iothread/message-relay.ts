// The IOThread's side of a device that is reached by messages: plays the guest of a virtqueue in
// memory of its own, so that there is one way into the device. A message's requests go into the ring
// together; completions leave in one message for each turn of the loop.

import type { AioContext, BottomHalf } from '../aio/aio-context.ts';
import { EventNotifier } from '../aio/event-notifier.ts';
import { WAIT_MESSAGE } from '../virtio/device-channel.ts';
import type { DeviceChannel } from '../virtio/device-channel.ts';
import { VIRTIO_BLK_S_OK } from '../virtio/spec.ts';
import { VirtioBlkDriver } from '../virtio/virtio-blk-driver.ts';
import type { DriverLayout } from '../virtio/virtio-blk-driver.ts';
import {
  FIELD_BYTES,
  FIELD_OFFSET,
  FIELD_SLOT,
  FIELD_TYPE,
  REQUEST_FIELDS,
  parseRequestBatch,
} from './device-messages.ts';
import type { AnswerBatch, DevicePort, DeviceState, RequestBatch } from './device-messages.ts';

export interface MessageRelayOptions {
  readonly context: AioContext;
  /** To the page's MessageDriver, or whoever holds the other end. */
  readonly port: DevicePort;
  /** The device's, local to this thread. The device calls `call` where it says `sendCall`. */
  readonly channel: DeviceChannel;
  readonly doorbell: Int32Array;
  /** The device's RAM, laid out as `layout` says. */
  readonly memory: Uint8Array;
  readonly layout: DriverLayout;
  /** Breaks the device: a message was malformed. */
  readonly onMalformed: () => void;
}

export class MessageRelay {
  readonly #port: DevicePort;
  readonly #channel: DeviceChannel;
  readonly #driver: VirtioBlkDriver;
  readonly #onMalformed: () => void;
  readonly #answerLater: BottomHalf;
  // By the driver's slot: the other side's, and the type. By the other side's: whether it is in flight.
  readonly #theirs: Int32Array;
  readonly #types: Uint32Array;
  readonly #taken: Uint8Array;
  #answers: number[] = [];
  #outgoing: ArrayBuffer[] = [];
  readonly #onDone: (slot: number, status: number) => void;

  /** Starts the device. */
  constructor(options: MessageRelayOptions) {
    const { context, channel, layout } = options;
    this.#port = options.port;
    this.#channel = channel;
    this.#onMalformed = options.onMalformed;
    this.#theirs = new Int32Array(layout.queueSize);
    this.#types = new Uint32Array(layout.queueSize);
    this.#taken = new Uint8Array(layout.queueSize);
    this.#answerLater = context.newBottomHalf(() => this.#answer());
    this.#onDone = (slot, status): void => this.#finish(slot, status);
    channel.setWaiting(WAIT_MESSAGE);
    const kick = new EventNotifier(channel.words, channel.kickIndex(0), options.doorbell);
    const ring = (): void => {
      kick.set();
      context.notify();
    };
    this.#driver = new VirtioBlkDriver({ memory: options.memory, layout, channel, ring });
    this.#port.onmessage = ({ data }: MessageEvent<unknown>): void => this.#take(data);
    this.#port.onmessageerror = (): void => this.#onMalformed();
  }

  get state(): DeviceState {
    const { capacity, broken, lastErrno } = this.#channel;
    return { capacity, broken, lastErrno };
  }

  /** The device has completions, or news of itself. */
  call(): void {
    this.#answerLater.schedule();
  }

  /** Sends and hears nothing more. */
  close(): void {
    this.#answerLater.cancel();
    this.#port.onmessage = null;
    this.#port.close();
  }

  #take(message: unknown): void {
    if (this.#channel.broken !== 0) return;
    const batch = parseRequestBatch(message, this.#taken.length);
    if (batch === undefined || !this.#submit(batch)) return this.#onMalformed();
    this.#channel.setWriteCache(batch.writeCache);
    this.#driver.kick();
  }

  /** False when a request names a slot that is in flight, or they do not fit the pool together. */
  #submit({ requests, data }: RequestBatch): boolean {
    let buffers = 0;
    for (let at = 0; at < requests.length; at += REQUEST_FIELDS) {
      const theirs = requests[at + FIELD_SLOT]!;
      const type = requests[at + FIELD_TYPE]!;
      const bytes = requests[at + FIELD_BYTES]!;
      const slot = this.#taken[theirs] === 0 ? this.#driver.reserve(bytes) : -1;
      if (slot < 0) return false;
      if (bytes > 0 && (type & 1) === 1) {
        this.#driver.put(slot, 0, new Uint8Array(data[buffers]!));
        buffers += 1;
      }
      this.#taken[theirs] = 1;
      this.#theirs[slot] = theirs;
      this.#types[slot] = type;
      this.#driver.submit(slot, type, requests[at + FIELD_OFFSET]!);
    }
    return true;
  }

  #finish(slot: number, status: number): void {
    const theirs = this.#theirs[slot]!;
    const bytes = this.#driver.bytesOf(slot);
    this.#taken[theirs] = 0;
    this.#answers.push(theirs, status);
    if (status !== VIRTIO_BLK_S_OK || bytes === 0 || (this.#types[slot]! & 1) === 1) return;
    const data = new Uint8Array(bytes);
    this.#driver.get(slot, 0, data);
    this.#outgoing.push(data.buffer);
  }

  #answer(): void {
    this.#driver.reap(this.#onDone);
    const answers = Int32Array.from(this.#answers);
    const data = this.#outgoing;
    this.#answers = [];
    this.#outgoing = [];
    const message: AnswerBatch = { answers, data, state: this.state };
    this.#port.postMessage(message, [answers.buffer, ...data]);
  }
}
