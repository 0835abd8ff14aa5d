// The IOThread's side of a device that is reached by messages: plays the guest of a virtqueue in
// memory of its own, so that there is one way into the device. A message's requests go into the ring
// together; completions leave in one message for each turn of the loop. Loaded where there is need.

import type { AioContext, BottomHalf } from '../aio/aio-context.ts';
import { EventNotifier } from '../aio/event-notifier.ts';
import { WAIT_MESSAGE } from '../virtio/device-channel.ts';
import type { TransportChannel } from '../virtio/transport-channel.ts';
import { VIRTIO_BLK_S_OK } from '../virtio/spec.ts';
import { VirtioBlkDriver } from '../virtio/virtio-blk-driver.ts';
import { QUEUE_SCRATCH_BYTES } from '../virtio/wasm-queue.ts';
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

const WASM_PAGE = 65536;

interface RelayedRequest {
  /** The other side's slot. */
  readonly theirs: number;
  readonly type: number;
  readonly offset: number;
}

/** Memory for a device and its relay. */
export interface RelayMemory {
  readonly memory: WebAssembly.Memory;
  readonly layout: DriverLayout;
}

export interface MessageRelayOptions extends RelayMemory {
  readonly context: AioContext;
  /** To the page's MessageDriver, or whoever holds the other end. */
  readonly port: DevicePort;
  /** The device's, local to this thread. The device calls `call` where it says `sendCall`. */
  readonly channel: TransportChannel;
  readonly doorbell: Int32Array;
  /** Breaks the device: a message was malformed. */
  readonly onMalformed: () => void;
}

export class MessageRelay {
  readonly #port: DevicePort;
  readonly #channel: TransportChannel;
  readonly #driver: VirtioBlkDriver;
  readonly #onMalformed: () => void;
  readonly #answerLater: BottomHalf;
  /** In the ring or being served, by the driver's slot, in their order. */
  readonly #requests = new Map<number, RelayedRequest>();
  /** By the other side's slot: whether it is in flight. */
  readonly #taken: Uint8Array;
  #answers: number[] = [];
  #outgoing: ArrayBuffer[] = [];
  readonly #onDone: (slot: number, status: number) => void;

  /** Memory for a device whose driver has `queueSize` slots and `poolPages` pages for their data. */
  static memory(queueSize: number, poolPages: number): RelayMemory {
    const layout = VirtioBlkDriver.layout(queueSize, poolPages);
    const pages = Math.ceil((layout.ramBytes + QUEUE_SCRATCH_BYTES) / WASM_PAGE);
    return { memory: new WebAssembly.Memory({ initial: pages, maximum: pages }), layout };
  }

  /** Starts the device. */
  constructor(options: MessageRelayOptions) {
    const { context, channel, layout } = options;
    this.#port = options.port;
    this.#channel = channel;
    this.#onMalformed = options.onMalformed;
    this.#taken = new Uint8Array(layout.queueSize);
    this.#answerLater = context.newBottomHalf(() => this.#answer());
    this.#onDone = (slot, status): void => this.#finish(slot, status);
    channel.setWaiting(WAIT_MESSAGE);
    const kick = new EventNotifier(channel.words, channel.kickIndex(0), options.doorbell);
    const ring = (): void => {
      kick.set();
      context.notify();
    };
    const memory = new Uint8Array(options.memory.buffer, 0, layout.ramBytes);
    this.#driver = new VirtioBlkDriver({ memory, layout, channel, ring });
    this.#port.onmessage = ({ data }: MessageEvent<unknown>): void => this.take(data);
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

  /**
   * Ends here, the device having left, for a relay of another IOThread to go on with the port. Answers
   * the messages for that one's `take`: what was not served, and what still comes before the port goes.
   */
  leave(): unknown[] {
    this.#answerLater.cancel();
    this.#answer();
    const waiting: unknown[] = [this.#unserved()];
    this.#port.onmessage = ({ data }: MessageEvent<unknown>): void => void waiting.push(data);
    return waiting;
  }

  /** Sends and hears nothing more. */
  close(): void {
    this.#answerLater.cancel();
    this.#port.onmessage = null;
    this.#port.close();
  }

  /** As if `message` had come by the port. */
  take(message: unknown): void {
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
      const offset = requests[at + FIELD_OFFSET]!;
      this.#taken[theirs] = 1;
      this.#requests.set(slot, { theirs, type, offset });
      this.#driver.submit(slot, type, offset);
    }
    return true;
  }

  #finish(slot: number, status: number): void {
    const { theirs, type } = this.#requests.get(slot)!;
    this.#requests.delete(slot);
    this.#taken[theirs] = 0;
    this.#answers.push(theirs, status);
    const reads = (type & 1) === 0 && this.#driver.bytesOf(slot) > 0;
    if (reads && status === VIRTIO_BLK_S_OK) this.#outgoing.push(this.#dataOf(slot));
  }

  #unserved(): RequestBatch {
    const fields: number[] = [];
    const data: ArrayBuffer[] = [];
    for (const [slot, { theirs, type, offset }] of this.#requests) {
      const bytes = this.#driver.bytesOf(slot);
      fields.push(theirs, type, offset, bytes);
      if (bytes > 0 && (type & 1) === 1) data.push(this.#dataOf(slot));
    }
    const { writeCache } = this.#channel;
    return { requests: Float64Array.from(fields), data, writeCache };
  }

  #dataOf(slot: number): ArrayBuffer {
    const data = new Uint8Array(this.#driver.bytesOf(slot));
    this.#driver.get(slot, 0, data);
    return data.buffer;
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
