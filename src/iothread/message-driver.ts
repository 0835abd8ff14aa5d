// The page's side of a device that is reached by messages: a RequestDriver whose slots are buffers of
// their own. A kick posts one message with all that was submitted, data transferred; what comes back
// is kept until it is reaped. Bounded as the device's own pool is, so that a batch always fits there.

import { BOUNCE_PAGE } from '../virtio/bounce-pool.ts';
import type { TransportChannel } from '../virtio/transport-channel.ts';
import type { RequestDriver } from '../virtio/request-driver.ts';
import { VIRTIO_BLK_S_OK } from '../virtio/spec.ts';
import type { AnswerBatch, DevicePort, DeviceState, RequestBatch } from './device-messages.ts';

export interface MessageDriverOptions {
  /** To the MessageRelay of the device. */
  readonly port: DevicePort;
  /** Not shared; kept in step with what the device says. */
  readonly channel: TransportChannel;
  /** As the device says them at first. */
  readonly state: DeviceState;
  /** Requests in flight at most, and pages of BOUNCE_PAGE that their data take; as the device has. */
  readonly queueSize: number;
  readonly poolPages: number;
  /** Called when answers are there to reap, or the device changed. */
  readonly onCall: () => void;
}

/** A slot that is free, reserved, on its way, or answered and not reaped. */
const FREE = 0;
const RESERVED = 1;
const SUBMITTED = 2;
const ANSWERED = 3;

export class MessageDriver implements RequestDriver {
  readonly #port: DevicePort;
  readonly #channel: TransportChannel;
  readonly #onCall: () => void;
  // Per slot.
  readonly #phase: Uint8Array;
  readonly #bytes: Uint32Array;
  readonly #types: Uint32Array;
  readonly #data: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  #freePages: number;
  #inFlight = 0;
  #broken = false;
  /** Fields of what was submitted since the last kick. */
  #batch: number[] = [];
  #outgoing: ArrayBuffer[] = [];
  /** Pairs (slot, status) that were answered. */
  #used: number[] = [];

  constructor(options: MessageDriverOptions) {
    const { queueSize } = options;
    this.#port = options.port;
    this.#channel = options.channel;
    this.#onCall = options.onCall;
    this.#phase = new Uint8Array(queueSize);
    this.#bytes = new Uint32Array(queueSize);
    this.#types = new Uint32Array(queueSize);
    for (let slot = queueSize - 1; slot >= 0; slot--) this.#freeSlots.push(slot);
    this.#freePages = options.poolPages;
    this.#channel.setCapacity(options.state.capacity);
    this.#channel.takeConfigCall();
    this.#port.onmessage = ({ data }: MessageEvent<AnswerBatch>): void => this.#take(data);
    this.#port.onmessageerror = (): void => this.#break();
  }

  get inFlight(): number {
    return this.#inFlight;
  }
  get broken(): boolean {
    return this.#broken;
  }

  reserve(bytes: number): number {
    const pages = Math.ceil(bytes / BOUNCE_PAGE);
    if (pages > this.#freePages) return -1;
    const slot = this.#freeSlots.pop();
    if (slot === undefined) return -1;
    this.#freePages -= pages;
    this.#bytes[slot] = bytes;
    this.#phase[slot] = RESERVED;
    return slot;
  }

  bytesOf(slot: number): number {
    return this.#bytes[slot]!;
  }

  put(slot: number, at: number, source: Uint8Array): void {
    const bytes = this.#bytes[slot]!;
    // The usual request comes in one piece: a copy of it needs no zeroes first.
    if (source.length === bytes) this.#data[slot] = new Uint8Array(source);
    else (this.#data[slot] ??= new Uint8Array(bytes)).set(source, at);
  }

  get(slot: number, at: number, target: Uint8Array): void {
    target.set(this.#data[slot]!.subarray(at, at + target.length));
  }

  submit(slot: number, type: number, offset: number): void {
    const bytes = this.#bytes[slot]!;
    this.#types[slot] = type;
    this.#phase[slot] = SUBMITTED;
    this.#batch.push(slot, type, offset, bytes);
    this.#inFlight += 1;
    if (bytes > 0 && (type & 1) === 1) {
      this.#outgoing.push((this.#data[slot] ?? new Uint8Array(bytes)).buffer);
    }
    this.#data[slot] = undefined;
  }

  kick(): void {
    if (this.#batch.length === 0) return;
    const data = this.#outgoing;
    const requests = Float64Array.from(this.#batch);
    this.#batch = [];
    this.#outgoing = [];
    const message: RequestBatch = { requests, data, writeCache: this.#channel.writeCache };
    this.#port.postMessage(message, [requests.buffer, ...data]);
  }

  hasUsed(): boolean {
    return this.#used.length > 0;
  }

  reap(onDone: (slot: number, status: number) => void): number {
    const used = this.#used;
    if (used.length === 0) return 0;
    this.#used = [];
    for (let i = 0; i < used.length; i += 2) {
      const slot = used[i]!;
      this.#inFlight -= 1;
      onDone(slot, used[i + 1]!);
      this.#release(slot);
    }
    return used.length / 2;
  }

  enableCalls(): boolean {
    return this.hasUsed();
  }

  #release(slot: number): void {
    this.#data[slot] = undefined;
    this.#phase[slot] = FREE;
    this.#freePages += Math.ceil(this.#bytes[slot]! / BOUNCE_PAGE);
    this.#freeSlots.push(slot);
  }

  #take({ answers, data, state }: AnswerBatch): void {
    const buffers = data.values();
    for (let i = 0; i < answers.length && !this.#broken; i += 2) {
      this.#answer(answers[i]!, answers[i + 1]!, buffers);
    }
    const channel = this.#channel;
    channel.setLastErrno(state.lastErrno);
    if (state.capacity !== channel.capacity) channel.setCapacity(state.capacity);
    if (state.broken !== 0 && channel.broken === 0) channel.break(state.broken);
    if (answers.length > 0) channel.call(0);
    this.#onCall();
  }

  #answer(slot: number, status: number, buffers: ArrayIterator<ArrayBuffer>): void {
    if (this.#phase[slot] !== SUBMITTED) return this.#break();
    const bytes = this.#bytes[slot]!;
    if (status === VIRTIO_BLK_S_OK && bytes > 0 && (this.#types[slot]! & 1) === 0) {
      const buffer = buffers.next().value;
      if (buffer?.byteLength !== bytes) return this.#break();
      this.#data[slot] = new Uint8Array(buffer);
    }
    this.#phase[slot] = ANSWERED;
    this.#used.push(slot, status);
  }

  #break(): void {
    this.#broken = true;
    this.#onCall();
  }
}
