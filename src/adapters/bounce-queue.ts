// One guest virtqueue of the bounce path: takes chains on the emulator's thread, copies writes into
// the slots of our own driver and reads out of them, and answers in the guest's ring. A request is
// cut into pieces that fit a slot; what finds none waits, and the chains behind it stay in the ring.

import {
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
  SECTOR_SIZE,
} from '../virtio/spec.ts';
import { MAX_REQUEST_BYTES } from '../virtio/request-driver.ts';
import type { RequestDriver } from '../virtio/request-driver.ts';
import {
  MAX_BATCH,
  REQUEST_WORDS,
  REQ_HEAD,
  REQ_IN_BYTES,
  REQ_IN_COUNT,
  REQ_IN_FIRST,
  REQ_OUT_BYTES,
  REQ_OUT_COUNT,
  REQ_OUT_FIRST,
  REQ_SECTOR_HI,
  REQ_SECTOR_LO,
  REQ_STATUS_ADDR,
  REQ_TYPE,
  VQ_BAD_HEADER,
  VQ_OK,
} from '../virtio/virtqueue.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';

/** Bytes of struct virtio_blk_discard_write_zeroes (virtio 1.2, 5.2.6); one segment a request. */
const DISCARD_SEGMENT = 16;
/** Sectors from here on do not fit a byte offset; no disk has them. */
const SECTOR_LIMIT = Number.MAX_SAFE_INTEGER / SECTOR_SIZE;

/** The guest's memory, as the queue touches it. */
export interface GuestMemory {
  /** All of it; asked for anew at each use. */
  readonly ram: Uint8Array;
  /** The bytes `[from, to)` were written. */
  written(from: number, to: number): void;
}

/** One guest request on its way. Pooled. */
export class BounceRequest {
  type = 0;
  head = 0;
  statusAddr = 0;
  sector = 0;
  /** Bytes of data: in all, and those that have a slot or had one. */
  bytes = 0;
  submitted = 0;
  /** Slots in flight, and the first status that was not OK. */
  pieces = 0;
  status: number = VIRTIO_BLK_S_OK;
  /** Pairs (guest address, bytes) of the data. */
  segments: Uint32Array = new Uint32Array(64);
  count = 0;
}

export class BounceQueue {
  /** Requests taken, bytes copied to and from slots, times that no slot was free. */
  requests = 0;
  bytesCopied = 0;
  stalls = 0;
  readonly #queue: Virtqueue;
  readonly #guest: GuestMemory;
  readonly #driver: RequestDriver;
  /** Notes which request has a slot, and where the slot's piece starts in it. */
  readonly #onSlot: (slot: number, request: BounceRequest, at: number) => void;
  readonly #pool: BounceRequest[] = [];
  #next = 0;
  #popped = 0;
  #stalled: BounceRequest | undefined;
  #completed = false;
  #broken: number = VQ_OK;

  constructor(
    queue: Virtqueue,
    guest: GuestMemory,
    driver: RequestDriver,
    onSlot: (slot: number, request: BounceRequest, at: number) => void,
  ) {
    this.#queue = queue;
    this.#guest = guest;
    this.#driver = driver;
    this.#onSlot = onSlot;
  }

  /** Chains taken and not answered. */
  get inFlight(): number {
    return this.#queue.inFlight;
  }
  /** `VQ_*` once the guest has broken the queue; it is then served no more. */
  get error(): number {
    return this.#broken === VQ_OK ? this.#queue.error : this.#broken;
  }
  /** True while a request waits for a slot. */
  get stalled(): boolean {
    return this.#stalled !== undefined;
  }

  /** Takes what the ring holds, as far as there are slots. The caller kicks the driver. */
  serve(): void {
    while (this.error === VQ_OK) {
      if (this.#stalled !== undefined && !this.#advance(this.#stalled)) return;
      this.#stalled = undefined;
      if (this.#next === this.#popped) {
        this.#next = 0;
        this.#popped = this.#queue.pop(MAX_BATCH);
        if (this.#popped === 0) return;
      }
      const request = this.#take(this.#next * REQUEST_WORDS);
      this.#next += 1;
      if (request !== undefined && !this.#advance(request)) {
        this.#stalled = request;
        this.stalls += 1;
      }
    }
  }

  /** The slot that holds the piece of `request` from `at` on is done. Call inside `reap`. */
  finish(slot: number, request: BounceRequest, at: number, status: number): void {
    request.pieces -= 1;
    const reads = request.type === VIRTIO_BLK_T_IN || request.type === VIRTIO_BLK_T_GET_ID;
    if (status === VIRTIO_BLK_S_OK && reads) this.#copy(request, slot, at, false);
    if (status !== VIRTIO_BLK_S_OK && request.status === VIRTIO_BLK_S_OK) request.status = status;
    if (request.pieces === 0 && request.submitted === request.bytes) {
      this.#answer(request, request.status, reads ? request.bytes : 0);
    }
  }

  /** Publishes the answers. True when the guest wants an interrupt for them. */
  publish(): boolean {
    if (!this.#completed) return false;
    this.#completed = false;
    return this.#queue.flush();
  }

  /** The request of the table's entry at `at`; undefined when it was answered at once. */
  #take(at: number): BounceRequest | undefined {
    const table = this.#queue.requests;
    const type = table[at + REQ_TYPE]!;
    const request = this.#pool.pop() ?? new BounceRequest();
    request.type = type;
    request.head = table[at + REQ_HEAD]!;
    request.statusAddr = table[at + REQ_STATUS_ADDR]!;
    request.sector = table[at + REQ_SECTOR_HI]! * 2 ** 32 + table[at + REQ_SECTOR_LO]!;
    request.submitted = 0;
    request.pieces = 0;
    request.status = VIRTIO_BLK_S_OK;
    request.bytes = 0;
    request.count = 0;
    this.requests += 1;
    const outBytes = table[at + REQ_OUT_BYTES]!;
    switch (type) {
      case VIRTIO_BLK_T_IN:
      case VIRTIO_BLK_T_GET_ID:
        this.#data(request, table[at + REQ_IN_FIRST]!, table[at + REQ_IN_COUNT]!);
        request.bytes = table[at + REQ_IN_BYTES]!;
        break;
      case VIRTIO_BLK_T_DISCARD:
      case VIRTIO_BLK_T_WRITE_ZEROES:
        if (outBytes < DISCARD_SEGMENT) this.#broken = VQ_BAD_HEADER;
        if (outBytes !== DISCARD_SEGMENT) return this.#refuse(request, VIRTIO_BLK_S_UNSUPP);
        request.sector = 0;
        this.#data(request, table[at + REQ_OUT_FIRST]!, table[at + REQ_OUT_COUNT]!);
        request.bytes = outBytes;
        break;
      case VIRTIO_BLK_T_OUT:
        this.#data(request, table[at + REQ_OUT_FIRST]!, table[at + REQ_OUT_COUNT]!);
        request.bytes = outBytes;
        break;
      case VIRTIO_BLK_T_FLUSH:
        request.sector = 0;
        break;
      default:
        return this.#refuse(request, VIRTIO_BLK_S_UNSUPP);
    }
    const whole = type !== VIRTIO_BLK_T_IN && type !== VIRTIO_BLK_T_OUT;
    if (!whole && (request.bytes % SECTOR_SIZE !== 0 || request.sector > SECTOR_LIMIT)) {
      return this.#refuse(request, VIRTIO_BLK_S_IOERR);
    }
    if (type === VIRTIO_BLK_T_GET_ID) {
      request.sector = 0;
      request.bytes = Math.min(request.bytes, MAX_REQUEST_BYTES);
    }
    return request;
  }

  /** Copies the pairs, which live in the table only until the next pop. */
  #data(request: BounceRequest, first: number, count: number): void {
    if (request.segments.length < 2 * count) request.segments = new Uint32Array(4 * count);
    const { segments } = this.#queue;
    for (let i = 0; i < 2 * count; i++) request.segments[i] = segments[2 * first + i]!;
    request.count = count;
  }

  /** Gives the request slots. False when there was none for all of it. */
  #advance(request: BounceRequest): boolean {
    do {
      const bytes = Math.min(request.bytes - request.submitted, MAX_REQUEST_BYTES);
      const slot = this.#driver.reserve(bytes);
      if (slot < 0) return false;
      const at = request.submitted;
      request.submitted += bytes;
      request.pieces += 1;
      if ((request.type & 1) !== 0) this.#copy(request, slot, at, true);
      this.#driver.submit(slot, request.type, request.sector * SECTOR_SIZE + at);
      this.#onSlot(slot, request, at);
    } while (request.submitted < request.bytes);
    return true;
  }

  /** Copies between the slot's data and the guest's bytes of the request from `start` on. */
  #copy(request: BounceRequest, slot: number, start: number, toSlot: boolean): void {
    const { ram } = this.#guest;
    const { segments } = request;
    let left = this.#driver.bytesOf(slot);
    let skip = start;
    let done = 0;
    this.bytesCopied += left;
    for (let i = 0; left > 0; i++) {
      const length = segments[2 * i + 1]!;
      const take = Math.min(length - skip, left);
      if (take > 0) {
        const from = segments[2 * i]! + skip;
        const view = ram.subarray(from, from + take);
        if (toSlot) {
          this.#driver.put(slot, done, view);
        } else {
          this.#driver.get(slot, done, view);
          this.#guest.written(from, from + take);
        }
        done += take;
        left -= take;
      }
      skip = Math.max(skip - length, 0);
    }
  }

  #refuse(request: BounceRequest, status: number): undefined {
    this.#answer(request, status, 0);
    return undefined;
  }

  #answer(request: BounceRequest, status: number, bytes: number): void {
    const { head, statusAddr } = request;
    this.#queue.push(head, (status === VIRTIO_BLK_S_OK ? bytes : 0) + 1, statusAddr, status);
    this.#guest.written(statusAddr, statusAddr + 1);
    this.#completed = true;
    this.#pool.push(request);
  }
}
